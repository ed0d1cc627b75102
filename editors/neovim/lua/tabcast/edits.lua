-- Next edits: asks for the place where something should change next, shows what would change there, jumps and accepts.
--
-- It works beside the suggestions at the cursor, and asks only when nobody types: behind insert mode, behind a change in
-- normal mode, when the cursor goes to another line, and when the keys rest.

local M = {}

local METHOD = "textDocument/copilotInlineEdit"
local DEBOUNCE_MS, REST_MS, SAME_LINE_MS = 50, 600, 5000

---@class tabcast.Edit
---@field text string
---@field range lsp.Range
---@field textDocument { uri: string, version: integer }
---@field command? lsp.Command

---@class tabcast.ShownEdit
---@field buf integer
---@field client_id integer
---@field edit tabcast.Edit
---@field row integer the first line, from 0
---@field col integer in bytes
---@field end_row integer
---@field end_col integer

local namespace = vim.api.nvim_create_namespace("tabcast.edits")
local timer ---@type uv.uv_timer_t?
local shown ---@type tabcast.ShownEdit?
local request ---@type { client: vim.lsp.Client, id: integer }?
local last = { line = 0, at = 0 }

local function define_highlights()
  vim.api.nvim_set_hl(0, "TabcastEditOld", { link = "DiffDelete", default = true })
  vim.api.nvim_set_hl(0, "TabcastEditNew", { link = "DiffAdd", default = true })
  vim.api.nvim_set_hl(0, "TabcastEditHint", { link = "MoreMsg", default = true })
end

---Hides what is shown, and forgets it.
function M.clear()
  if shown and vim.api.nvim_buf_is_valid(shown.buf) then
    vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  end
  shown = nil
end

---@param found tabcast.ShownEdit
---@return boolean
local function is_for_this_text(found)
  return vim.api.nvim_buf_is_valid(found.buf)
    and vim.lsp.util.buf_versions[found.buf] == found.edit.textDocument.version
end

---The edit that is shown for the current buffer as it is; nil if none is.
---@return tabcast.ShownEdit?
local function current()
  if shown and not is_for_this_text(shown) then
    M.clear()
  end
  return shown and shown.buf == vim.api.nvim_get_current_buf() and shown or nil
end

---Draws the text that goes with its own highlight, what comes behind it, and at the cursor a hint where the edit is.
---@param found tabcast.ShownEdit
local function draw(found)
  define_highlights()
  vim.api.nvim_buf_clear_namespace(found.buf, namespace, 0, -1)
  local lines = vim.split(found.edit.text, "\n", { plain = true })
  local below = vim.tbl_map(function(line)
    return { { line, "TabcastEditNew" } }
  end, vim.list_slice(lines, 2))
  if found.row ~= found.end_row or found.col ~= found.end_col then
    vim.api.nvim_buf_set_extmark(found.buf, namespace, found.row, found.col, {
      end_row = found.end_row,
      end_col = found.end_col,
      hl_group = "TabcastEditOld",
      strict = false,
    })
  end
  vim.api.nvim_buf_set_extmark(found.buf, namespace, found.end_row, found.end_col, {
    virt_text = lines[1] ~= "" and { { lines[1], "TabcastEditNew" } } or nil,
    virt_text_pos = "inline",
    virt_lines = #below > 0 and below or nil,
    undo_restore = false,
    strict = false,
  })
  local line = vim.api.nvim_win_get_cursor(0)[1]
  if line - 1 ~= found.row and found.buf == vim.api.nvim_get_current_buf() then
    vim.api.nvim_buf_set_extmark(found.buf, namespace, line - 1, 0, {
      virt_text = { { (" next edit: line %d"):format(found.row + 1), "TabcastEditHint" } },
      undo_restore = false,
    })
  end
end

---@param client vim.lsp.Client
---@param buf integer
---@param edit tabcast.Edit
local function show(client, buf, edit)
  local function place(position)
    local line = vim.api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ""
    return position.line, vim.str_byteindex(line, client.offset_encoding, position.character, false)
  end
  local row, col = place(edit.range.start)
  local end_row, end_col = place(edit.range["end"])
  M.clear()
  shown = {
    buf = buf,
    client_id = client.id,
    edit = edit,
    row = row,
    col = col,
    end_row = math.min(end_row, vim.api.nvim_buf_line_count(buf) - 1),
    end_col = end_col,
  }
  if not is_for_this_text(shown) then
    shown = nil
    return
  end
  draw(shown)
  client:notify("textDocument/didShowInlineEdit", { item = { command = edit.command } })
end

local function cancel()
  if request then
    request.client:cancel_request(request.id)
    request = nil
  end
end

---Hides what is shown, and gives up what was asked or was about to be.
function M.stop()
  if timer then
    timer:stop()
  end
  cancel()
  M.clear()
end

---Asks for the next edit of the current buffer, in place of what was asked before.
function M.ask()
  local buf = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = "tabcast", bufnr = buf })[1]
  cancel()
  if not client or not vim.tbl_get(client, "server_capabilities", "experimental", "inlineEditProvider") then
    return
  end
  last = { line = vim.api.nvim_win_get_cursor(0)[1], at = vim.uv.now() }
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.textDocument.version = vim.lsp.util.buf_versions[buf]
  local id ---@type integer?
  id = select(2, client:request(METHOD, params, function(err, result)
    if not request or request.id ~= id then
      return -- another was asked since, or none is wanted any more
    end
    request = nil
    local edit = not err and result and result.edits and result.edits[1]
    if edit and vim.api.nvim_buf_is_valid(buf) and vim.uri_to_bufnr(edit.textDocument.uri) == buf then
      show(client, buf, edit)
    else
      M.clear()
    end
  end, buf))
  request = id and { client = client, id = id } or nil
end

---@param ms integer
local function ask_soon(ms)
  timer = timer or assert(vim.uv.new_timer())
  timer:start(ms, 0, vim.schedule_wrap(M.ask))
end

---Whether an edit is shown.
---@return boolean
function M.is_visible()
  return current() ~= nil
end

---Goes to the edit that is shown, or accepts it where the cursor is on its line.
---@return boolean whether there was one
function M.go_or_accept()
  local found = current()
  if not found then
    return false
  end
  if vim.api.nvim_win_get_cursor(0)[1] - 1 ~= found.row then
    vim.cmd("normal! m'")
    vim.api.nvim_win_set_cursor(0, { found.row + 1, found.col })
    draw(found)
    return true
  end
  return M.accept()
end

---Accepts the edit that is shown, wherever the cursor is, and asks for the next.
---@return boolean whether there was one
function M.accept()
  local found = current()
  local client = found and vim.lsp.get_client_by_id(found.client_id)
  if not found or not client then
    return false
  end
  M.clear()
  local edit = { range = found.edit.range, newText = found.edit.text }
  vim.lsp.util.apply_text_edits({ edit }, found.buf, client.offset_encoding)
  local lines = vim.split(found.edit.text, "\n", { plain = true })
  local row, col = found.row + #lines - 1, #lines[#lines] + (#lines == 1 and found.col or 0)
  local is_inserting = vim.api.nvim_get_mode().mode:sub(1, 1) == "i"
  vim.api.nvim_win_set_cursor(0, { row + 1, math.max(0, is_inserting and col or col - 1) })
  if found.edit.command then
    client:exec_cmd(found.edit.command, { bufnr = found.buf })
  end
  ask_soon(0)
  return true
end

---Hides the edit that is shown, and has the server keep it away.
---@return boolean whether there was one
function M.dismiss()
  local found = current()
  local client = found and vim.lsp.get_client_by_id(found.client_id)
  if not found or not client then
    return false
  end
  local command = found.edit.command
  if command then
    client:exec_cmd({ title = "Dismiss", command = "tabcast.server.editRejected", arguments = command.arguments })
  end
  M.clear()
  return true
end

---@param key string
---@param action fun(): boolean
---@param what string
local function map(key, action, what)
  vim.keymap.set("n", key, function()
    if not action() then
      vim.api.nvim_feedkeys(vim.keycode(key), "n", false)
    end
  end, { desc = "Tabcast: " .. what })
end

---Maps the keys of normal mode; where no edit is shown, each does what it does by itself.
---@param keys tabcast.Keys
function M.map(keys)
  if keys.edit then
    map(keys.edit, M.go_or_accept, "go to the next edit, or accept it")
  end
  if keys.edit_dismiss then
    map(keys.edit_dismiss, M.dismiss, "dismiss the next edit")
  end
end

---Asks by itself in a buffer from now on.
---@param buf integer
function M.attach(buf)
  local group = vim.api.nvim_create_augroup("tabcast.edits." .. buf, {})
  local function on(events, action)
    vim.api.nvim_create_autocmd(events, {
      group = group,
      buffer = buf,
      callback = function()
        if require("tabcast.config").edits then
          action()
        end
      end,
    })
  end
  on({ "TextChanged", "InsertLeave" }, function()
    current()
    ask_soon(DEBOUNCE_MS)
  end)
  on("TextChangedI", function()
    current()
    ask_soon(REST_MS)
  end)
  on("CursorMoved", function()
    local found, line = current(), vim.api.nvim_win_get_cursor(0)[1]
    if found then
      draw(found)
    elseif line ~= last.line or vim.uv.now() - last.at >= SAME_LINE_MS then
      ask_soon(DEBOUNCE_MS)
    end
  end)
  on({ "BufLeave", "BufUnload" }, M.clear)
end

---Stops asking in a buffer.
---@param buf integer
function M.detach(buf)
  pcall(vim.api.nvim_del_augroup_by_name, "tabcast.edits." .. buf)
  if shown and shown.buf == buf then
    M.clear()
  end
end

return M
