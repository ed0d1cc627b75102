-- Starts the server again when it has ended by itself: after ever longer pauses, five times at most, and then one
-- message. Losing the engine is the server's own subject.

local M = {}

M.NUM_TRIES = 5
M.first_pause_ms = 500
M.STABLE_S = 60

local num_tries = 0
---When the running server had started; nil where none has since the last end, which leaves the count as it is.
---@type number?
local started_s
---How a server that was started here has ended, for as long as Neovim is told that it ended well.
---@type { code: integer, signal: integer }?
local ended

---How to start a server without Neovim's own warning at each end: the first one was told, the last one tells all.
---@param config vim.lsp.ClientConfig
---@return vim.lsp.ClientConfig
local function without_warning(config)
  local command = config.cmd
  if type(command) ~= "table" then
    return config
  end
  local function start(dispatchers)
    local on_exit = dispatchers.on_exit
    dispatchers.on_exit = function(code, signal)
      ended = { code = code, signal = signal }
      on_exit(0, 0)
      ended = nil
    end
    local spawning = { cwd = config.cmd_cwd, env = config.cmd_env, detached = config.detached }
    return vim.lsp.rpc.start(command, dispatchers, spawning)
  end
  return vim.tbl_extend("force", config, { cmd = start })
end

---@param config vim.lsp.ClientConfig
---@param bufs integer[]
---@param how string how it ended, for people
local function start_later(config, bufs, how)
  if num_tries == M.NUM_TRIES then
    num_tries = 0
    local text = "Tabcast: the language server keeps ending (%s). :Tabcast log shows why, "
      .. ":Tabcast restart starts it again."
    vim.notify(text:format(how), vim.log.levels.ERROR)
    return
  end
  num_tries = num_tries + 1
  vim.defer_fn(function()
    bufs = vim.tbl_filter(vim.api.nvim_buf_is_loaded, bufs)
    for _, buf in ipairs(bufs) do
      if not vim.lsp.start(config, { bufnr = buf, silent = true }) then
        start_later(config, bufs, "it can't be run")
        return
      end
    end
  end, M.first_pause_ms * 2 ^ (num_tries - 1))
end

---To be called when a server was started.
function M.on_init()
  started_s = vim.uv.now() / 1000
end

---To be called when a client has ended.
---@param code integer
---@param signal integer
---@param client_id integer
function M.on_exit(code, signal, client_id)
  if ended then
    code, signal = ended.code, ended.signal
  end
  local client = vim.lsp.get_client_by_id(client_id)
  local was_stopped = code == 0 and (signal == 0 or signal == 15)
  if not client or was_stopped or vim.v.exiting ~= vim.NIL then
    return
  end
  local bufs = vim.tbl_keys(client.attached_buffers)
  vim.schedule(function()
    require("tabcast.status").set({ state = "stopped" })
    if started_s and vim.uv.now() / 1000 - started_s > M.STABLE_S then
      num_tries = 0
    end
    started_s = nil
    start_later(without_warning(client.config), bufs, ("exit code %d"):format(code))
  end)
end

return M
