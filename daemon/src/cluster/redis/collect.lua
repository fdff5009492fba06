-- Removes the entry and set of a boot if its counter has not risen.
-- KEYS: nodes, set. ARGV: boot, counter. Returns whether it did.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or entry:sub(1, 16) ~= ARGV[2] then
    return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('UNLINK', KEYS[2])
return 1
