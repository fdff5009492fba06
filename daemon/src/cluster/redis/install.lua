-- Puts a staged set in the place of what is there, unless something is missing or a higher
-- version is there.
-- KEYS: nodes, set, log, temporary set.
-- ARGV: boot, sealed counter and head, number of records, sealed delta, length of the log.
-- Returns {1} if it is done, now or before, otherwise {0, stored version or ''}.
local stored = try('HGET', KEYS[2], '')
local version = ARGV[2]:sub(49, 64)
local staged = redis.call('HLEN', KEYS[4])
local is_higher = stored and number(stored) > number(version)
if is_higher or staged ~= tonumber(ARGV[3]) then
    redis.call('UNLINK', KEYS[4])
    if stored == version and staged == 0 then
        return { 1 }
    end
    return { 0, stored or '' }
end
redis.call('UNLINK', KEYS[2])
if staged > 0 then
    redis.call('PERSIST', KEYS[4])
    redis.call('RENAME', KEYS[4], KEYS[2])
end
redis.call('HSET', KEYS[2], '', version)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
append(KEYS[3], ARGV[5], ARGV[1], ARGV[4])
return { 1 }
