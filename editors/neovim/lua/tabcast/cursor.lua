-- The current buffer at its cursor: what stands there, what of a suggestion fits there, and writing it. Knows neither
-- the server nor what is shown.

local suggestion = require("tabcast.suggestion")

local M = {}

---Where the cursor is.
---@return tabcast.Place
function M.place()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return { row = row - 1, col = col, line = vim.api.nvim_get_current_line() }
end

---Names a state of the buffer and the cursor, to tell whether it is still the same.
---@param place tabcast.Place
---@return string
function M.describe(place)
  return ("%d:%d:%d"):format(vim.api.nvim_buf_get_changedtick(0), place.row, place.col)
end

---What of a suggestion is left, given what was typed since.
---@param shown tabcast.Suggestion
---@return tabcast.Rest?
function M.rest(shown)
  local place = M.place()
  local first = vim.api.nvim_buf_get_lines(0, shown.row, shown.row + 1, false)[1]
  local num_lines_below = place.row - shown.row
  local is_before = num_lines_below < 0 or (num_lines_below == 0 and place.col < shown.start_col)
  local is_beyond = num_lines_below > select(2, shown.text:gsub("\n", ""))
  if is_before or is_beyond or not first or #first < shown.start_col then
    return nil
  end
  local typed = vim.api.nvim_buf_get_text(0, shown.row, shown.start_col, place.row, place.col, {})
  local tail = place.line:sub(place.col + 1)
  local text, num_replaced = suggestion.rest(shown, table.concat(typed, "\n"), tail)
  return text and { text = text, num_replaced = num_replaced, row = place.row, col = place.col, tail = tail }
end

---Puts a text at the cursor as an undo step of its own, in place of some bytes behind it.
---@param rest tabcast.Rest
---@param text string
---@param num_replaced integer
function M.insert(rest, text, num_replaced)
  local function end_undo_step()
    vim.bo.undolevels = vim.bo.undolevels
  end
  local lines = vim.split(text, "\n", { plain = true })
  end_undo_step()
  vim.api.nvim_buf_set_text(0, rest.row, rest.col, rest.row, rest.col + num_replaced, lines)
  local start_col = #lines == 1 and rest.col or 0
  vim.api.nvim_win_set_cursor(0, { rest.row + #lines, start_col + #lines[#lines] })
  end_undo_step()
end

return M
