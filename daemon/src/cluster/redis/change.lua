-- Changes records if the stored version is the one that the change applies to.
-- KEYS: nodes, set, log.
-- ARGV: boot, version before, sealed head, sealed delta, length of the log, number of puts;
-- then per put its field and value, then the fields that are removed.
-- Returns {1} if it is done, now or before, otherwise {0, stored version or ''}.
local stored = try('HGET', KEYS[2], '')
local version = ARGV[3]:sub(1, 16)
if stored == version then
    return { 1 }
end
local entry = try('HGET', KEYS[1], ARGV[1])
if stored ~= ARGV[2] or not entry then
    return { 0, stored or '' }
end
local removed = 7 + 2 * tonumber(ARGV[6])
if removed > 7 then
    redis.call('HSET', KEYS[2], unpack(ARGV, 7, removed - 1))
end
if removed <= #ARGV then
    redis.call('HDEL', KEYS[2], unpack(ARGV, removed))
end
redis.call('HSET', KEYS[2], '', version)
redis.call('HSET', KEYS[1], ARGV[1], entry:sub(1, 48) .. ARGV[3])
append(KEYS[3], ARGV[5], ARGV[1], ARGV[4])
return { 1 }
