-- Says what is wrong and what to do about it: each subject once, however often it shows. Knows neither buffers nor
-- suggestions.

local M = {}

---The plugin's own version; the server of the same release has the same.
M.VERSION = "0.1.0"
---An engine that was lost is back long before.
M.grace_ms = 30000

---@type table<string, true>
local told = {}
---@type uv.uv_timer_t?
local failing

---@param subject string
---@param text string
local function tell(subject, text)
  if not told[subject] then
    told[subject] = true
    vim.notify("Tabcast: " .. text, vim.log.levels.WARN)
  end
end

---Looks at a buffer's type for which the server would be started, if it could.
---@param filetype string
---@return boolean whether there is nothing more to look at
function M.look_for_command(filetype)
  if not vim.lsp.is_enabled or not vim.lsp.is_enabled("tabcast") then
    return false
  end
  local settings = vim.lsp.config["tabcast"]
  if not settings or (settings.filetypes and not vim.list_contains(settings.filetypes, filetype)) then
    return false
  end
  local command = settings.cmd
  if type(command) == "table" and vim.fn.executable(command[1]) == 0 then
    tell("command", ("there is no program `%s`. :checkhealth tabcast says how to install or name it."):format(command[1]))
  end
  return true
end

---To be called with what a server said of itself.
---@param info? lsp.ServerInfo
function M.on_version(info)
  local theirs = info and info.version
  local release = "^%d+%.%d+"
  if theirs and theirs:match(release) ~= M.VERSION:match(release) then
    local text = "the server has version %s and this plugin %s. Update the older one (:checkhealth tabcast)."
    tell("version", text:format(theirs, M.VERSION))
  end
end

---To be called with each status that the server tells.
---@param status tabcast.Status
function M.on_status(status)
  if status.state == "failed" then
    failing = failing
      or vim.defer_fn(function()
        local text = "%s. `:Tabcast restart engine` tries again, `tabcast doctor` in a shell looks closer."
        tell("engine", text:format(require("tabcast.status").now.message or "the engine failed"))
      end, M.grace_ms)
    return
  end
  if failing and not failing:is_closing() then
    failing:stop()
    failing:close()
  end
  failing = nil
  if status.state == "ready" then
    told["engine"] = nil
  end
end

return M
