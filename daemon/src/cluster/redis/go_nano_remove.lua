-- KEYS: the key that go-nano reads; the table of what nodes have put there.
-- ARGV: the boot that has put it; the address.
-- What has been put there since, by whomever, stays.
if redis.call('HGET', KEYS[2], KEYS[1]) ~= ARGV[1] .. ' ' .. ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[2], KEYS[1])
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1]) == ARGV[2] then
  redis.call('DEL', KEYS[1])
end
return 1
