-- SPDX-License-Identifier: Apache-2.0
-- For wrk: each connection waits so many milliseconds before its next request.

function init(args)
   think_ms = tonumber(args[1])
end

function delay()
   return think_ms
end
