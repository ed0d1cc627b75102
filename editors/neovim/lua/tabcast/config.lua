-- The plugin's options, their only defaults, and what is wrong with those that were given.

local M = {}

---Keys of insert mode; where nothing is shown, each does what it did before.
---@class tabcast.Keys
---@field accept? string
---@field accept_word? string
---@field accept_line? string
---@field next? string
---@field prev? string
---@field dismiss? string
---@field trigger? string asks for a suggestion, whatever is shown
---@field edit? string in normal mode: goes to the next edit, or accepts it
---@field edit_dismiss? string in normal mode

---@class tabcast.Options
---@field auto? boolean suggest while typing; otherwise only when asked (default: true)
---@field debounce_ms? integer how long to wait after a key before asking (default: 0)
---@field edits? boolean show where something should change next (default: true)
---@field keys? tabcast.Keys none is mapped by default

M.auto = true
M.debounce_ms = 0
M.edits = true
---@type tabcast.Keys
M.keys = {}

M.KEY_NAMES = { "accept", "accept_word", "accept_line", "next", "prev", "dismiss", "trigger", "edit", "edit_dismiss" }
local OPTION_NAMES = { "auto", "debounce_ms", "edits", "keys" }

---Takes options over the defaults; raises an error that names what is wrong.
---@param options? tabcast.Options
function M.set(options)
  vim.validate("options", options, "table", true)
  options = options or {}
  for name in pairs(options) do
    if not vim.list_contains(OPTION_NAMES, name) then
      error(("tabcast: no such option: %s (see :help tabcast-options)"):format(name), 0)
    end
  end
  vim.validate("auto", options.auto, "boolean", true)
  vim.validate("edits", options.edits, "boolean", true)
  vim.validate("debounce_ms", options.debounce_ms, function(value)
    return type(value) == "number" and value >= 0 and value <= 10000
  end, true, "a number from 0 to 10000")
  vim.validate("keys", options.keys, "table", true)
  for name, key in pairs(options.keys or {}) do
    if not vim.list_contains(M.KEY_NAMES, name) then
      error(("tabcast: keys has no entry %s, but %s"):format(name, table.concat(M.KEY_NAMES, ", ")), 0)
    end
    vim.validate("keys." .. name, key, "string")
  end
  M.auto = options.auto ~= false
  M.edits = options.edits ~= false
  M.debounce_ms = options.debounce_ms or 0
  M.keys = options.keys or {}
end

return M
