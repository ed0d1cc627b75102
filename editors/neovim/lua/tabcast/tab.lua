-- Tells where <Tab> belongs to the editor, although a suggestion is shown: to go to the next place of a snippet, and to
-- indent a line that isn't yet as deep as the suggestion.

local M = {}

---Whether a snippet is active and has another place to go to.
---@return boolean
local function is_in_snippet()
  if vim.snippet and vim.snippet.active({ direction = 1 }) then
    return true
  end
  local luasnip = package.loaded["luasnip"]
  return luasnip ~= nil and luasnip.locally_jumpable(1)
end

---Whether <Tab> indents here: only blanks stand before the cursor, and the text begins with a level more of them.
---@param text string what would be accepted, from the cursor on
---@return boolean
local function indents(text)
  local column = vim.api.nvim_win_get_cursor(0)[2]
  local head = vim.api.nvim_get_current_line():sub(1, column)
  local blanks = text:match("^[ \t]*") --[[@as string]]
  local width = vim.fn.strdisplaywidth(blanks, vim.fn.strdisplaywidth(head))
  return not head:find("%S") and blanks ~= text and width >= vim.fn.shiftwidth()
end

---@param text string what would be accepted, from the cursor on
---@return boolean
function M.is_editors(text)
  return is_in_snippet() or indents(text)
end

return M
