-- Begins every script that writes. What a stranger has put in the place of ours goes, so
-- that the owner can put its own there again.
local function is_strange(answer)
    local err = type(answer) == 'table' and answer.err
    return err and (err:find('WRONGTYPE') or err:find('exhausted the last possible ID'))
end
-- A command on a key; false if what is there is of another type, which it is not any more.
local function try(command, key, ...)
    local answer = redis.pcall(command, key, ...)
    if is_strange(answer) then
        redis.call('UNLINK', key)
        return false
    end
    if type(answer) == 'table' and answer.err then
        error(answer)
    end
    return answer
end
-- A version or counter; 0 for what no owner writes, which is then as old as can be.
local function number(digits)
    local is_one = #digits == 16 and not digits:find('[^0-9a-f]')
    return is_one and tonumber(digits, 16) or 0
end
-- The id of the log's last entry.
local function last(log)
    local entry = (try('XREVRANGE', log, '+', '-', 'COUNT', 1) or {})[1]
    return entry and entry[1] or '0-0'
end
local function append(log, length, boot, delta)
    local function add()
        return try('XADD', log, 'MAXLEN', '~', length, '*',
            'after', last(log), 'boot', boot, 'delta', delta)
    end
    return add() or add()
end
