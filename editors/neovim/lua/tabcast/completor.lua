-- One buffer's suggestions: asks the server after each change, shows what fits, accepts it whole or in part.
--
-- What is shown is always computed from the buffer as it is now, so that keys that were typed after a request are
-- never lost or doubled: they are part of the suggestion, or the suggestion is gone.

local config = require("tabcast.config")
local cursor = require("tabcast.cursor")
local ghost = require("tabcast.ghost")
local suggestion = require("tabcast.suggestion")

local METHOD = "textDocument/inlineCompletion"
local INVOKED, AUTOMATIC = 1, 2
-- A cursor that goes on within this time has not come to rest.
local REST_MS = 100

---@class tabcast.Completor
---@field buf integer
---@field client_id integer
---@field augroup integer
---@field suggestions tabcast.Suggestion[]
---@field index integer which of them is shown
---@field is_chosen boolean whether the user cycled to it, so that an automatic answer doesn't replace it
---@field pending? integer id of the request under way
---@field serial integer number of the newest request
---@field seen string what the buffer and the cursor were when last looked at
---@field timer? uv.uv_timer_t
---@field resting? uv.uv_timer_t runs while the cursor may have come to rest
local Completor = {}
Completor.__index = Completor

---@type table<integer, tabcast.Completor>
local active = {}

---What takes the texts of a request under way that come before its answer, by the token that the request has.
---@type table<string, fun(items: lsp.InlineCompletionItem[])>
local parts = {}

local M = { INVOKED = INVOKED }

---@param buf integer
---@return boolean
local function is_editable(buf)
  local options = vim.bo[buf]
  return options.buftype == "" and options.modifiable and not options.readonly
end

---Whether Neovim's own inline completion shows the suggestions here, so that the plugin shouldn't.
---@param buf integer
---@return boolean
local function is_left_to_neovim(buf)
  local builtin = vim.lsp.inline_completion -- since 0.12
  return builtin ~= nil and builtin.is_enabled({ bufnr = buf })
end

---@param buf integer
---@return boolean
local function may_suggest(buf)
  return vim.api.nvim_get_current_buf() == buf
    and vim.api.nvim_get_mode().mode:sub(1, 1) == "i"
    and vim.fn.reg_executing() == ""
    and is_editable(buf)
    and not is_left_to_neovim(buf)
end

---What of the shown suggestion is left at the cursor.
---@return tabcast.Rest?
function Completor:rest()
  local shown = self.suggestions[self.index]
  if not shown or vim.api.nvim_get_current_buf() ~= self.buf then
    return nil
  end
  return cursor.rest(shown)
end

---Draws what is left of the shown suggestion.
function Completor:draw()
  local rest = self:rest()
  if not rest then
    ghost.clear(self.buf)
    return
  end
  local is_one_of_many = self.is_chosen and #self.suggestions > 1
  ghost.show(self.buf, rest, is_one_of_many and (" (%d/%d)"):format(self.index, #self.suggestions) or nil)
end

---Ends the request under way, if there is one.
function Completor:cancel()
  self.serial = self.serial + 1
  if self.timer then
    self.timer:stop()
    self.timer:close()
    self.timer = nil
  end
  local client = vim.lsp.get_client_by_id(self.client_id)
  if self.pending and client and not client:is_stopped() then
    client:cancel_request(self.pending)
  end
  self.pending = nil
end

---Shows nothing, and forgets what was shown.
function Completor:clear()
  self:cancel()
  self.suggestions, self.index, self.is_chosen = {}, 1, false
  ghost.clear(self.buf)
end

---Looks at the buffer after a change or a movement: shows what still fits, and asks for what comes next.
function Completor:update()
  if not may_suggest(self.buf) then
    self:clear()
    return
  end
  local now = cursor.describe(cursor.place())
  if now == self.seen then
    return
  end
  self.seen = now
  self:draw()
  if config.auto then
    self:ask_soon()
  end
end

---Looks at the buffer although it is the same: the mode changed, or the server can do what it couldn't.
function Completor:look_again()
  self.seen = ""
  vim.schedule(function() -- only then the mode is entered and the cursor in its place
    if may_suggest(self.buf) then
      self:update()
    end
  end)
end

---Asks when the keys that have arrived are all handled, or when the user has paused for `debounce_ms`.
function Completor:ask_soon()
  self:cancel()
  local serial = self.serial
  local function ask()
    if serial == self.serial and may_suggest(self.buf) then
      self:ask(AUTOMATIC)
    end
  end
  if config.debounce_ms == 0 then
    vim.schedule(ask)
  else
    self.timer = vim.defer_fn(ask, config.debounce_ms)
  end
end

---@param kind integer
---@param after? fun() called when more than one text is known, or no more will come
---@param may_replace? boolean whether the answer may take the place of what is shown
function Completor:ask(kind, after, may_replace)
  self:cancel()
  local client = vim.lsp.get_client_by_id(self.client_id)
  if not client or client:is_stopped() then
    return
  end
  local serial, place = self.serial, cursor.place()
  local asked = cursor.describe(place)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  ---@cast params table
  params.context = { triggerKind = kind }
  local num_taken, token = 0, ("tabcast.%d.%d"):format(self.buf, serial)
  local function done()
    if after then
      after()
      after = nil
    end
  end
  if kind == INVOKED then -- the first text needn't wait for others
    params.partialResultToken = token
    parts[token] = function(items)
      if serial ~= self.serial or not may_suggest(self.buf) then
        return
      end
      local from = num_taken == 0 and 2 or 1
      if num_taken == 0 then
        self:take({ items[1] }, place, asked, true)
      end
      self:add(vim.list_slice(items, from), place)
      num_taken = num_taken + #items
      if num_taken > 1 then
        done()
      end
    end
  end
  local is_sent, id = client:request(METHOD, params, function(err, result)
    parts[token] = nil
    if serial ~= self.serial then
      return
    end
    self.pending = nil
    -- Null means that the server has dropped the request; nothing is known about what fits.
    if not err and type(result) == "table" and may_suggest(self.buf) then
      if num_taken == 0 then
        self:take(result.items or result, place, asked, kind == INVOKED or may_replace)
      end
      done()
    end
  end, self.buf)
  self.pending = is_sent and id or nil
end

---Takes an answer. What is shown and fits gives way only to none or to more of it, never to another under one's finger.
---@param items lsp.InlineCompletionItem[]
---@param place tabcast.Place
---@param asked string
---@param may_replace? boolean
function Completor:take(items, place, asked, may_replace)
  local client = vim.lsp.get_client_by_id(self.client_id)
  local before = not may_replace and self:rest()
  if not client or (before and self.is_chosen) then
    return
  end
  local taken = {} ---@type tabcast.Suggestion[]
  for _, item in ipairs(items) do
    taken[#taken + 1] = suggestion.from_item(item, place, client.offset_encoding)
  end
  local shown, index = self.suggestions, self.index
  self.suggestions, self.index, self.is_chosen = taken, 1, false
  local rest = self:rest()
  local is_outdated = not rest and asked ~= cursor.describe(cursor.place()) -- its own answer will come
  if is_outdated or (before and rest and not vim.startswith(rest.text, before.text)) then
    self.suggestions, self.index = shown, index
  end
  self:draw()
end

---Adds texts that came later than the first.
---@param items lsp.InlineCompletionItem[]
---@param place tabcast.Place
function Completor:add(items, place)
  local client = vim.lsp.get_client_by_id(self.client_id)
  for _, item in ipairs(client and items or {}) do
    self.suggestions[#self.suggestions + 1] = suggestion.from_item(item, place, client.offset_encoding)
  end
  self:draw()
end

---Shows the next or an earlier suggestion, after asking for more than one if only one is known.
---@param step integer
---@return boolean whether there is anything to cycle through
function Completor:cycle(step)
  local before = self:rest()
  if not before then
    return false
  end
  local function move()
    self.index = (self.index - 1 + step) % math.max(1, #self.suggestions) + 1
    self.is_chosen = true
    self:draw()
  end
  if self.is_chosen then
    move()
    return true
  end
  self:ask(INVOKED, function()
    local first = self:rest()
    if not first or first.text == before.text then
      move()
    else
      self.is_chosen = true
    end
  end)
  return true
end

---Accepts what is shown, or the beginning of it.
---@param cut? fun(text: string): string which part; all of it by default
---@return boolean whether anything was shown that fits
function Completor:accept(cut)
  local rest = self:rest()
  if not rest or not is_editable(self.buf) then
    return false
  end
  local text = cut and cut(rest.text) or rest.text
  local is_whole = #text == #rest.text
  local command = self.suggestions[self.index].command
  cursor.insert(rest, text, is_whole and rest.num_replaced or 0)
  if is_whole then
    self:clear()
    local client = vim.lsp.get_client_by_id(self.client_id)
    if command and client then
      client:exec_cmd(command, { bufnr = self.buf })
    end
  end
  self:update()
  return true
end

---Tells the server where the cursor rests, once it has stayed for a moment: a slow model then reads that place ahead.
function Completor:tell_place()
  if self.resting then
    self.resting:stop()
    self.resting:close()
  end
  self.resting = vim.defer_fn(function()
    self.resting = nil
    local client = vim.lsp.get_client_by_id(self.client_id)
    if client and active[self.buf] == self and vim.api.nvim_get_current_buf() == self.buf then
      client:notify("tabcast/didRest", vim.lsp.util.make_position_params(0, client.offset_encoding))
    end
  end, REST_MS)
end

---Takes a part of an answer.
---@param params lsp.ProgressParams
---@return boolean whether it was one
function M.take_part(params)
  local take = parts[params.token]
  if take and type(params.value) == "table" and params.value[1] then
    take(params.value)
  end
  return take ~= nil
end

---@param buf integer
---@param client_id integer
function M.attach(buf, client_id)
  M.detach(buf)
  local self = setmetatable({
    buf = buf,
    client_id = client_id,
    augroup = vim.api.nvim_create_augroup("tabcast.buffer." .. buf, {}),
    suggestions = {},
    index = 1,
    is_chosen = false,
    serial = 0,
    seen = "",
  }, Completor)
  active[buf] = self
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = self.augroup, buffer = buf, callback = callback })
  end
  -- stylua: ignore start
  on({ "TextChangedI", "TextChangedP", "CursorMovedI" }, function() self:update() end)
  on("InsertEnter", function() self:look_again() end)
  on({ "CursorMoved", "BufEnter" }, function() self:tell_place() end)
  on({ "InsertLeave", "BufLeave" }, function() self:clear() end)
  on("BufWipeout", function() M.detach(buf) end)
  -- stylua: ignore end
  self:look_again()
end

---@param buf integer
---@param client_id? integer only if it is this client's
function M.detach(buf, client_id)
  local self = active[buf]
  if self and (client_id == nil or client_id == self.client_id) then
    active[buf] = nil
    self:clear()
    vim.api.nvim_del_augroup_by_id(self.augroup)
  end
end

---Asks again for a document where nothing was typed since: the server has another text than the one that is shown.
---@param uri string
function M.ask_again(uri)
  local self = active[vim.api.nvim_get_current_buf()]
  local is_here = self ~= nil and vim.uri_from_bufnr(self.buf) == uri and may_suggest(self.buf)
  if is_here and not self.pending and not self.is_chosen and cursor.describe(cursor.place()) == self.seen then
    self:ask(AUTOMATIC, nil, true)
  end
end

---The current buffer's, or nil if no server is attached to it.
---@return tabcast.Completor?
function M.current()
  return active[vim.api.nvim_get_current_buf()]
end

---Clears all buffers.
function M.clear_all()
  for _, self in pairs(active) do
    self:clear()
  end
end

return M
