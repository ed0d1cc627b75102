-- Accepting Neovim's built-in inline completion (0.12) without harm to what was typed since it was asked for.
-- For those who prefer it to the plugin's own ghost text.
--
-- Neovim keeps an item while the user types on, but its range stays that of the text the server saw.
-- Knows nothing of how items are requested or shown.

local M = {}

local CLOSERS = "^[%s%)%]}>\"'`;:,]*$"

---The text between a position and the cursor, or nil where the cursor is not behind the position.
---@param buf integer
---@param start_row integer
---@param start_col integer
---@param row integer
---@param col integer
---@return string?
local function text_between(buf, start_row, start_col, row, col)
  if row < start_row or (row == start_row and col < start_col) then
    return nil
  end
  local first = vim.api.nvim_buf_get_lines(buf, start_row, start_row + 1, false)[1]
  if not first or #first < start_col then
    return nil
  end
  return table.concat(vim.api.nvim_buf_get_text(buf, start_row, start_col, row, col, {}), "\n")
end

---Fits an item to what was typed after it was asked for; nil if that contradicts the item.
---
---Leans on how Tabcast chooses a range: it starts at the beginning of the line when only blanks follow the cursor,
---else at the cursor, and passes the cursor only over closers that the text brings along. Items of other servers
---are returned as they are.
---@param item vim.lsp.inline_completion.Item
---@return vim.lsp.inline_completion.Item?
function M.fit(item)
  local client = vim.lsp.get_client_by_id(item.client_id)
  local range, text = item.range, item.insert_text
  if not client or client.name ~= "tabcast" or not range or type(text) ~= "string" then
    return item
  end
  local buf = vim.api.nvim_get_current_buf()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  row = row - 1

  local typed = text_between(buf, range.start_row, range.start_col, row, col)
  if not typed or not vim.startswith(text, typed) then
    return nil
  end

  local rest = vim.api.nvim_get_current_line():sub(col + 1)
  local num_replaced = 0
  if rest:match("%S") then
    -- The range starts where the cursor was, so its length is what it covers behind the cursor.
    num_replaced = math.min(range.end_col - range.start_col, #rest)
    if typed ~= "" and not rest:sub(1, num_replaced):match(CLOSERS) then
      return nil
    end
  elseif range.end_row == row and range.end_col > col then
    num_replaced = #rest
  end
  item.range = vim.range.extmark(buf, range.start_row, range.start_col, row, col + num_replaced)
  return item
end

---The first line of the ghost text in this buffer, from the cursor on.
---@return string
local function shown()
  local namespace = vim.api.nvim_create_namespace("nvim.lsp.inline_completion")
  local mark = vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })[1]
  local chunks = mark and mark[4] and mark[4].virt_text or {}
  return table.concat(vim.tbl_map(function(chunk)
    return chunk[1]
  end, chunks))
end

---Accepts the ghost text; where there is none, or where <Tab> goes on in a snippet or
---indents, returns the keys to type instead. For an `expr` mapping:
---`vim.keymap.set("i", "<Tab>", require("tabcast.builtin").accept, { expr = true })`
---@param otherwise? string keys to type where nothing is shown (default: `<Tab>`)
---@return string
function M.accept(otherwise)
  local is_tab = vim.keycode(otherwise or "<Tab>") == vim.keycode("<Tab>")
  if is_tab and require("tabcast.tab").is_editors(shown()) then
    return vim.snippet.active({ direction = 1 }) and "<Cmd>lua vim.snippet.jump(1)<CR>" or "<Tab>"
  end
  if vim.lsp.inline_completion.get({ on_accept = M.fit }) then
    return ""
  end
  return otherwise or "<Tab>"
end

return M
