-- KEYS: the key that go-nano reads, which is the pattern; the table of what nodes have put there.
-- ARGV: the address; the boot that puts it.
-- What a go-nano server has put, or a key of another use, is left alone.
local noted = redis.call('HGET', KEYS[2], KEYS[1])
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then
  if not noted or redis.call('GET', KEYS[1]) ~= string.match(noted, '^%x+ (.*)$') then
    return 0
  end
elseif kind ~= 'none' then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], KEYS[1], ARGV[2] .. ' ' .. ARGV[1])
return 1
