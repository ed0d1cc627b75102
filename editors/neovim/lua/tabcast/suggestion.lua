-- What is left of a suggestion, given what was typed since it was asked for. Pure functions over strings; knows
-- neither buffers nor windows nor the server.

local M = {}

---A text and the part of one line that it replaces. Columns count bytes from 0.
---@class tabcast.Suggestion
---@field row integer the line that the range is on, from 0
---@field start_col integer where the range starts
---@field text string what the range becomes
---@field tail string what followed the cursor on its line when the suggestion was asked for
---@field num_replaced integer how many bytes of `tail` the range covers
---@field command? lsp.Command to run after the whole text was accepted

---What accepting would do now: insert `text` at the cursor in place of `num_replaced` bytes behind it.
---@class tabcast.Rest
---@field text string
---@field num_replaced integer
---@field row integer the cursor's line, from 0
---@field col integer the cursor's column
---@field tail string what follows the cursor

---Where a request was made.
---@class tabcast.Place
---@field row integer from 0
---@field col integer in bytes
---@field line string

-- What auto-pairing plugins put behind the cursor by themselves.
local CLOSERS = "^[%)%]}>\"'`]+$"
local WORD = "[%w_\128-\255]+"

---@param line string
---@param position lsp.Position
---@param encoding string
---@return integer
local function byte_col(line, position, encoding)
  return vim.str_byteindex(line, encoding, position.character, false)
end

---Reads an item of the server; nil if it is not of this line, or not for what stands there.
---@param item lsp.InlineCompletionItem
---@param place tabcast.Place
---@param encoding string the positions' encoding: utf-8, utf-16 or utf-32
---@return tabcast.Suggestion?
function M.from_item(item, place, encoding)
  local text, range = item.insertText, item.range
  if type(text) ~= "string" then
    return nil
  end
  local start_col, end_col = place.col, place.col
  if range then
    if range.start.line ~= place.row or range["end"].line ~= place.row then
      return nil
    end
    start_col, end_col = byte_col(place.line, range.start, encoding), byte_col(place.line, range["end"], encoding)
  end
  local typed = place.line:sub(start_col + 1, place.col)
  if start_col > place.col or end_col < place.col or not vim.startswith(text, typed) then
    return nil
  end
  return {
    row = place.row,
    start_col = start_col,
    text = text,
    tail = place.line:sub(place.col + 1),
    num_replaced = end_col - place.col,
    command = item.command,
  }
end

---Whether the characters of one text occur in another in the same order.
---@param characters string
---@param text string
---@return boolean
local function occur_in_order(characters, text)
  local from = 1
  for character in characters:gmatch(".") do
    local found = text:find(character, from, true)
    if not found then
      return false
    end
    from = found + 1
  end
  return true
end

---What is left; nil if what was typed contradicts the suggestion, or nothing is left.
---@param suggestion tabcast.Suggestion
---@param typed string what stands between the range's start and the cursor
---@param tail string what follows the cursor on its line
---@return string? text
---@return integer num_replaced
function M.rest(suggestion, typed, tail)
  local rest = suggestion.text:sub(#typed + 1)
  if rest == "" or not vim.startswith(suggestion.text, typed) then
    return nil, 0
  end
  local grown = #tail - #suggestion.tail
  if grown < 0 then -- closers were typed over
    local is_typed_over = vim.endswith(suggestion.tail, tail) and -grown <= suggestion.num_replaced
    return is_typed_over and rest or nil, suggestion.num_replaced + grown
  end
  local added = tail:sub(1, grown)
  if not vim.endswith(tail, suggestion.tail) then
    return nil, 0
  end
  if added ~= "" and not (added:match(CLOSERS) and occur_in_order(added, rest)) then
    return nil, 0
  end
  return rest, suggestion.num_replaced + grown
end

---The beginning of a text up to the end of its first word, or of its first run of other characters.
---@param text string
---@return string
function M.first_word(text)
  return text:match("^%s*" .. WORD) or text:match("^%s*[^%w_%s\128-\255]+") or text
end

---The rest of the line, or if nothing is left on it, the next one.
---@param text string
---@return string
function M.first_line(text)
  return text:match("^\n*[^\n]+") or text
end

return M
