-- Raises a boot's counter if its entry is there, and lists all entries.
-- KEYS: nodes, authority, set, log. ARGV: boot, sealed counter, authority.
-- Returns the authority alone if it is another one.
local authority = try('GET', KEYS[2])
if not authority then
    redis.call('SET', KEYS[2], ARGV[3])
elseif authority ~= ARGV[3] then
    return { authority }
end
local version, count = '', 0
local entry = try('HGET', KEYS[1], ARGV[1])
if entry then
    if number(entry:sub(1, 16)) < number(ARGV[2]:sub(1, 16)) then
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. entry:sub(49))
    end
    local stored = try('HGET', KEYS[3], '')
    if stored == entry:sub(49, 64) then
        version, count = stored, redis.call('HLEN', KEYS[3]) - 1
    end
end
return { ARGV[3], version, count, last(KEYS[4]), redis.call('HGETALL', KEYS[1]) }
