-- `:checkhealth tabcast`: what is needed, what is there, what to do. Works when the server doesn't.

local M = {}

local health = vim.health

---@return boolean
local function check_neovim()
  if vim.fn.has("nvim-0.11") == 0 then
    health.error("Neovim 0.11 or later is needed", { "Install a newer Neovim" })
    return false
  end
  health.ok("Neovim " .. tostring(vim.version()))
  local builtin = vim.lsp.inline_completion
  if builtin and builtin.is_enabled() then
    health.info("Neovim's own inline completion is enabled, so the plugin shows no ghost text of its own")
  end
  return true
end

---@return string[]? command
local function check_command()
  local settings = vim.lsp.config["tabcast"]
  if not settings then
    health.error("no configuration for tabcast", { "Add editors/neovim of Tabcast to 'runtimepath'" })
    return nil
  end
  local command = settings.cmd
  if type(command) ~= "table" then
    health.info("the server is started by a function of yours")
    return nil
  end
  if vim.fn.executable(command[1]) == 0 then
    health.error(("`%s` is not executable"):format(command[1]), {
      "Install it: `pipx install .` in a clone of Tabcast",
      'Or name it: `vim.lsp.config("tabcast", { cmd = { "/path/to/tabcast", "lsp" } })`',
    })
    return nil
  end
  local result = vim.system({ command[1], "--version" }, { text = true, cwd = vim.uv.os_homedir() }):wait(10000)
  if result.code ~= 0 then
    health.error(("`%s --version` failed: %s"):format(command[1], vim.trim(result.stderr or "")))
    return nil
  end
  health.ok(("%s (%s)"):format(vim.trim(result.stdout), vim.fn.exepath(command[1])))
  return command
end

local function check_client()
  if vim.lsp.is_enabled and not vim.lsp.is_enabled("tabcast") then
    health.warn("not enabled", { 'Put `vim.lsp.enable("tabcast")` into init.lua' })
  end
  local clients = vim.lsp.get_clients({ name = "tabcast" })
  if #clients == 0 then
    health.warn("no server is running", {
      "Open a file of one of these types: " .. table.concat(vim.lsp.config["tabcast"].filetypes or {}, ", "),
    })
    return
  end
  for _, client in ipairs(clients) do
    health.ok(("the server runs for %d buffers"):format(vim.tbl_count(client.attached_buffers)))
    local answer = client:request_sync("workspace/executeCommand", { command = "tabcast.server.why" }, 5000)
    local result = answer and answer.result
    if type(result) ~= "table" then
      health.error("the server doesn't answer", { "`:Tabcast log` shows why", "`:Tabcast restart` starts it again" })
    else
      local status = result.status
      local text = ("%s: %s %s %s"):format(status.state, status.model, status.device, status.message)
      if status.state == "failed" then
        health.error(text, { status.action })
      else
        health.ok(vim.trim(text))
        if (status.better or "") ~= "" then
          health.info(status.better)
        end
        if status.model == require("tabcast.setup").SHIPPED_PAIR then
          health.info("a small demonstration model is in use; `:Tabcast setup` recommends a real code model")
        end
      end
    end
  end
end

function M.check()
  health.start("tabcast")
  if check_neovim() and check_command() then
    check_client()
  end
  health.info("log of the server: " .. vim.lsp.log.get_filename())
end

return M
