-- Requests as they stand in a file, one after the other, each ended by a zero byte; says how many were answered, and how
-- many of these with a status from 400.

local requests = {}
local at = 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   for request in file:read("*a"):gmatch("(%Z+)%z") do
      requests[#requests + 1] = request
   end
   file:close()
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, _, _)
   io.write(string.format("answered %d\nrefused %d\n", summary.requests, summary.errors.status))
end
