-- The state of server and engine in a few words, kept from what the server tells. Asks for nothing.

local M = {}

---What the server tells with `tabcast/status`; texts are empty where there is nothing to say.
---@class tabcast.Status
---@field state string off, stopped, loading, ready or failed; empty before a server was started
---@field percent? integer of the loading
---@field model? string
---@field device? string
---@field message? string
---@field action? string what to do about a failure

---@type tabcast.Status
M.now = { state = "" }

---@param status tabcast.Status
function M.set(status)
  local became_ready = status.state == "ready" and M.now.state ~= "ready"
  M.now = status
  require("tabcast.notice").on_status(status)
  local completor = became_ready and require("tabcast.completor").current()
  if completor then
    completor:look_again()
  end
  vim.api.nvim_exec_autocmds("User", { pattern = "TabcastStatus", modeline = false })
end

---@return string
function M.text()
  local now = M.now
  if now.state == "" then
    return ""
  elseif now.state == "loading" then
    return ("Tabcast loading %d%%"):format(now.percent or 0)
  elseif now.state == "ready" and (now.model or "") ~= "" then
    return "Tabcast " .. now.model
  end
  return "Tabcast " .. now.state
end

return M
