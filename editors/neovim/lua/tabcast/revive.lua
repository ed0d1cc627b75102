-- Starts the server again when it has ended by itself: after ever longer pauses, five times at most, and then one
-- message. Losing the engine is the server's own subject.

local M = {}

M.NUM_TRIES = 5
M.first_pause_ms = 1000
M.STABLE_S = 60

local num_tries = 0
local started_s = 0

---@param client vim.lsp.Client
---@param bufs integer[]
local function start_again(client, bufs)
  for _, buf in ipairs(bufs) do
    if vim.api.nvim_buf_is_valid(buf) then
      vim.lsp.start(client.config, { bufnr = buf, silent = true })
    end
  end
end

---To be called when a client was started.
function M.on_init()
  started_s = vim.uv.now() / 1000
end

---To be called when a client has ended.
---@param code integer
---@param signal integer
---@param client_id integer
function M.on_exit(code, signal, client_id)
  local client = vim.lsp.get_client_by_id(client_id)
  local was_stopped = code == 0 and (signal == 0 or signal == 15)
  if not client or was_stopped or vim.v.exiting ~= vim.NIL then
    return
  end
  local bufs = vim.tbl_keys(client.attached_buffers)
  vim.schedule(function()
    require("tabcast.status").set({ state = "stopped" })
    if vim.uv.now() / 1000 - started_s > M.STABLE_S then
      num_tries = 0
    end
    if num_tries == M.NUM_TRIES then
      num_tries = 0
      local text = "Tabcast: the language server keeps ending (exit code %d). :Tabcast log shows why, "
        .. ":Tabcast restart starts it again."
      vim.notify(text:format(code), vim.log.levels.ERROR)
      return
    end
    num_tries = num_tries + 1
    vim.defer_fn(function()
      start_again(client, bufs)
    end, M.first_pause_ms * 2 ^ (num_tries - 1))
  end)
end

return M
