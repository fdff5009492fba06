-- KEYS: the table of what nodes have put there; that of what they have read.
-- ARGV: the longest value that is of interest, then patterns.
-- Answers three texts a pattern, empty where there is none: the value, who has put it, what was read.
local answer = {}
for index = 2, #ARGV do
  local key = ARGV[index]
  local value = ''
  if redis.call('TYPE', key).ok == 'string' and redis.call('STRLEN', key) <= tonumber(ARGV[1]) then
    value = redis.call('GET', key)
  end
  answer[#answer + 1] = value
  answer[#answer + 1] = redis.call('HGET', KEYS[1], key) or ''
  answer[#answer + 1] = redis.call('HGET', KEYS[2], key) or ''
end
return answer
