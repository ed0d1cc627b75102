-- Draws the rest of a suggestion behind the cursor. Knows neither the server nor where a suggestion comes from.

local M = {}

local namespace = vim.api.nvim_create_namespace("tabcast.ghost")

local function define_highlights()
  local has_hint = vim.fn.hlexists("ComplHint") == 1 -- since 0.12
  vim.api.nvim_set_hl(0, "TabcastGhost", { link = has_hint and "ComplHint" or "NonText", default = true })
  vim.api.nvim_set_hl(0, "TabcastHint", { link = has_hint and "ComplHintMore" or "MoreMsg", default = true })
end

---Virtual text draws a tab as one cell or as `^I`, so the blanks a line begins with are spelt out.
---@param line string
---@param num_columns integer
---@return string
local function without_tabs(line, num_columns)
  return (line:gsub("^[\t ]+", function(blanks)
    return (blanks:gsub("\t", (" "):rep(num_columns)))
  end))
end

---How the first line is drawn: between what stands there, or over what it replaces.
---@param first string
---@param rest tabcast.Rest
---@param is_single boolean whether it is the only line
---@return string text
---@return "inline"|"overlay" position
local function first_line(first, rest, is_single)
  local replaced = rest.tail:sub(1, rest.num_replaced)
  if replaced == "" then
    return first, "inline"
  elseif is_single and vim.endswith(first, replaced) then
    return first:sub(1, #first - #replaced), "inline"
  end
  local num_missing = vim.fn.strdisplaywidth(replaced) - vim.fn.strdisplaywidth(first)
  return first .. (" "):rep(math.max(0, num_missing)), "overlay"
end

---Shows a rest, in place of what is shown.
---@param buf integer
---@param rest tabcast.Rest
---@param hint? string said behind the text
function M.show(buf, rest, hint)
  M.clear(buf)
  define_highlights()
  local lines = {} ---@type [string, string][][]
  for line in vim.gsplit(rest.text, "\n", { plain = true }) do
    lines[#lines + 1] = { { without_tabs(line, vim.bo[buf].tabstop), "TabcastGhost" } }
  end
  local text, position = first_line(lines[1][1][1], rest, #lines == 1)
  lines[1][1][1] = text
  if hint then
    table.insert(lines[#lines], { hint, "TabcastHint" })
  end
  vim.api.nvim_buf_set_extmark(buf, namespace, rest.row, rest.col, {
    virt_text = lines[1],
    virt_text_pos = position,
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    hl_mode = "combine",
    undo_restore = false,
    strict = false,
  })
end

---Shows nothing.
---@param buf integer
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
