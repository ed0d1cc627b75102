-- Maps keys that do something where a suggestion is shown, and elsewhere what they did before.
--
-- Not by expression mappings: Neovim evaluates those before it has inserted the characters typed just before, so that
-- a key that contradicts the suggestion would not be seen yet.

local M = {}

---What a key was mapped to; nil if to nothing, or by this module.
---@param key string
---@return table<string, any>?
local function earlier_mapping(key)
  local mapping = vim.fn.maparg(key, "i", false, true)
  local is_ours = vim.startswith(mapping.desc or "", "Tabcast: ")
  return next(mapping) and not is_ours and mapping or nil
end

---Types keys before those that are waiting.
---@param keys string
---@param is_remapped boolean
local function feed(keys, is_remapped)
  vim.api.nvim_feedkeys(keys, is_remapped and "im" or "in", false)
end

---Does what a mapping says.
---@param mapping table<string, any>
local function follow(mapping)
  local is_remapped = mapping.noremap == 0
  if mapping.expr == 0 then
    if mapping.callback then
      mapping.callback()
    else
      feed(vim.keycode(mapping.rhs or ""), is_remapped)
    end
    return
  end
  local keys = mapping.callback and mapping.callback() or not mapping.callback and vim.api.nvim_eval(mapping.rhs)
  if type(keys) == "string" then
    feed(mapping.replace_keycodes == 1 and vim.keycode(keys) or keys, is_remapped)
  end
end

---Accepts the suggestion, or does what <Tab> does by itself.
function M.tab()
  if not require("tabcast").tab() then
    feed(vim.keycode("<Tab>"), false)
  end
end

---@param key string
---@param name string a function of the module `tabcast`, which returns whether it did anything
function M.map(key, name)
  if name == "accept" and vim.keycode(key) == vim.keycode("<Tab>") then
    name = "tab"
  end
  local earlier = earlier_mapping(key)
  vim.keymap.set("i", key, function()
    if require("tabcast")[name]() then
      return
    elseif earlier then
      follow(earlier)
    else
      feed(vim.keycode(key), false)
    end
  end, { desc = "Tabcast: " .. name })
end

return M
