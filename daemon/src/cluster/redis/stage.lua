-- Writes a page of a whole set to a temporary key.
-- KEYS: temporary set. ARGV: milliseconds until it is of no use, then fields and values.
if #ARGV > 1 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 2))
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return { 1 }
