-- What users call: options, accepting, cycling, dismissing, the status line. Everything is loaded when it is needed.

local M = {}

---@return tabcast.Completor?
local function current()
  return require("tabcast.completor").current()
end

---Does something to the shown suggestion. A completion menu is closed first, with its text as it stands: a change
---under an open menu would be undone or doubled by it.
---@param method string of this module, to be called again without the menu
---@param action fun(completor: tabcast.Completor): boolean
---@return boolean
local function act(method, action)
  local completor = current()
  if not completor or not completor:rest() then
    return false
  elseif vim.fn.pumvisible() == 0 then
    return action(completor)
  end
  local keys = "<C-x><C-z><Cmd>lua require('tabcast')." .. method .. "()<CR>"
  vim.api.nvim_feedkeys(vim.keycode(keys), "in", false)
  return true
end

---Whether a suggestion is shown.
---@return boolean
function M.is_visible()
  local completor = current()
  return completor ~= nil and completor:rest() ~= nil
end

---Accepts the suggestion.
---@return boolean whether there was one
function M.accept()
  return act("accept", function(completor)
    return completor:accept()
  end)
end

---Accepts the suggestion, unless <Tab> goes on in a snippet or indents the line here.
---@return boolean whether <Tab> is done with
function M.tab()
  local completor = current()
  local rest = completor and completor:rest()
  return rest ~= nil and not require("tabcast.tab").is_editors(rest.text) and M.accept()
end

---The keys that do so in an |:map-expression|, where nothing can be changed yet; nil where nothing is shown.
---What was typed just before is looked at only when the keys are handled.
---@return string?
function M.tab_keys()
  return M.is_visible() and vim.keycode("<Cmd>lua require('tabcast.keys').tab()<CR>") or nil
end

---Accepts the suggestion's next word; what is left stays.
---@return boolean whether there was one
function M.accept_word()
  return act("accept_word", function(completor)
    return completor:accept(require("tabcast.suggestion").first_word)
  end)
end

---Accepts the suggestion up to the end of its line; what is left stays.
---@return boolean whether there was one
function M.accept_line()
  return act("accept_line", function(completor)
    return completor:accept(require("tabcast.suggestion").first_line)
  end)
end

---Shows another suggestion for the same place.
---@return boolean whether there was one
function M.next()
  local completor = current()
  return completor ~= nil and completor:cycle(1)
end

---Shows the suggestion before.
---@return boolean whether there was one
function M.prev()
  local completor = current()
  return completor ~= nil and completor:cycle(-1)
end

---Hides the suggestion, and has the server keep it away from its place for a while.
---@return boolean whether there was one
function M.dismiss()
  local completor = current()
  if not completor or not completor:rest() then
    return false
  end
  local command = completor.suggestions[completor.index].command
  local client = vim.lsp.get_client_by_id(completor.client_id)
  if client and command and command.command == "tabcast.server.accepted" then
    client:exec_cmd({ title = "Dismiss", command = "tabcast.server.rejected", arguments = command.arguments })
  end
  completor:clear()
  return true
end

---Asks for a suggestion here and now; for those who set `auto = false`.
---@return boolean true
function M.trigger()
  local completor = current()
  if completor then
    completor:ask(require("tabcast.completor").INVOKED)
  end
  return true
end

---Goes to the next edit that is shown, or accepts it where the cursor is on its line.
---@return boolean whether there was one
function M.edit()
  return require("tabcast.edits").go_or_accept()
end

---Hides the next edit that is shown, and has the server keep it away.
---@return boolean whether there was one
function M.edit_dismiss()
  return require("tabcast.edits").dismiss()
end

---The state in a few words, for a status line. `User TabcastStatus` tells when it changes.
---@return string
function M.status()
  return require("tabcast.status").text()
end

---Sets options; calling it is not necessary.
---@param options? tabcast.Options
function M.setup(options)
  local config = require("tabcast.config")
  config.set(options)
  for name, key in pairs(config.keys) do
    if not vim.startswith(name, "edit") then
      require("tabcast.keys").map(key, name)
    end
  end
  require("tabcast.edits").map(config.keys)
  if not config.edits then
    require("tabcast.edits").stop()
  end
end

return M
