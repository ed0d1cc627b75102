-- The subcommands of :Tabcast. Most are the server's own commands; what they answer is printed as it comes.

local M = {}

---@return vim.lsp.Client?
local function client()
  local here = vim.lsp.get_clients({ name = "tabcast", bufnr = 0 })[1]
  return here or vim.lsp.get_clients({ name = "tabcast" })[1]
end

---A value of a server as lines for people.
---@param value any
---@param indent string
---@return string[]
local function describe(value, indent)
  if type(value) ~= "table" then
    return { indent .. tostring(value) }
  end
  local lines = {}
  local keys = vim.tbl_keys(value)
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(keys) do
    local inner = value[key]
    local name = type(key) == "number" and "-" or key .. ":"
    if type(inner) == "table" then
      lines[#lines + 1] = indent .. name
      vim.list_extend(lines, describe(inner, indent .. "  "))
    elseif inner ~= vim.NIL and inner ~= "" then
      lines[#lines + 1] = ("%s%s %s"):format(indent, name, inner)
    end
  end
  return lines
end

---@alias tabcast.Execute fun(name: string, arguments: any[], take: fun(result: any)): vim.lsp.Client?, integer?

---Runs a command of the server, and returns whom it asked and the request's id.
---@type tabcast.Execute
local function execute(name, arguments, take)
  local server = client()
  if not server then
    vim.notify("Tabcast: no server is running here (:checkhealth tabcast)", vim.log.levels.WARN)
    return nil
  end
  local _, id = server:request("workspace/executeCommand", { command = name, arguments = arguments }, function(err, result)
    if err then
      vim.notify("Tabcast: " .. err.message, vim.log.levels.ERROR)
    else
      take(result)
    end
  end, 0)
  return server, id
end

---@param result any
local function say(result)
  if result ~= nil and result ~= vim.NIL then
    vim.notify(table.concat(describe(result, ""), "\n"))
  end
end

---Stops the server and starts it again, for the buffers it was attached to.
local function restart_server()
  local server = client()
  if not server then
    vim.lsp.enable("tabcast") -- looks at the open buffers again
    return
  end
  local bufs, server_config = vim.tbl_keys(server.attached_buffers), server.config
  server:stop()
  local num_looks = 0
  local function start()
    num_looks = num_looks + 1
    if not server:is_stopped() and num_looks < 100 then
      vim.defer_fn(start, 50)
      return
    end
    for _, buf in ipairs(bufs) do
      if vim.api.nvim_buf_is_valid(buf) then
        vim.lsp.start(server_config, { bufnr = buf, reuse_client = function(other, config)
          return other.name == config.name and not other:is_stopped()
        end })
      end
    end
  end
  start()
end

---Uses another of the user's own models; without a name, lets the user choose.
---@param name? string
local function select_model(name)
  execute("tabcast.server.selectModel", { name }, function(result)
    if result.problem ~= "" then
      vim.notify("Tabcast: " .. result.problem, vim.log.levels.ERROR)
    elseif name then
      say("Tabcast uses " .. result.selected)
    else
      vim.ui.select(result.models, { prompt = "Model (now " .. result.selected .. ")" }, function(choice)
        if choice then
          select_model(choice)
        end
      end)
    end
  end)
end

---@type table<string, { values?: string[], run: fun(argument?: string) }>
local subcommands = {
  why = {
    run = function()
      execute("tabcast.server.why", {}, function(result)
        say(result.report)
      end)
    end,
  },
  stats = {
    run = function()
      execute("tabcast.server.stats", {}, function(result)
        say(result.report)
      end)
    end,
  },
  status = {
    run = function()
      local status = require("tabcast.status").now
      say(status.state ~= "" and status or "Tabcast: no server has started")
    end,
  },
  toggle = {
    run = function()
      require("tabcast.completor").clear_all()
      execute("tabcast.server.toggle", {}, function(result)
        say("Tabcast is " .. (result.enabled and "on" or "off"))
      end)
    end,
  },
  snooze = {
    values = { "0", "5", "15", "60" },
    run = function(minutes)
      if minutes and not (tonumber(minutes) and tonumber(minutes) >= 0) then
        vim.notify("Tabcast: snooze takes a number of minutes, not " .. minutes, vim.log.levels.ERROR)
        return
      end
      require("tabcast.completor").clear_all()
      execute("tabcast.server.snooze", { tonumber(minutes) }, function(result)
        local left = result.minutes
        say(left == 0 and "Tabcast suggests again" or ("Tabcast is silent for %d minutes"):format(left))
      end)
    end,
  },
  forget = {
    run = function()
      execute("tabcast.server.forgetHabits", {}, function(result)
        say(result.problem ~= "" and result.problem or "Tabcast has forgotten what you accept and pass over")
      end)
    end,
  },
  restart = {
    values = { "server", "engine" },
    run = function(what)
      if what == "engine" then
        execute("tabcast.server.restartEngine", {}, say)
      else
        restart_server()
      end
    end,
  },
  model = {
    run = function(name)
      select_model(name)
    end,
  },
  setup = {
    values = { "undo", "cancel" },
    run = function(what)
      require("tabcast.setup").run(execute, what)
    end,
  },
  log = {
    run = function()
      vim.cmd.tabedit(vim.fn.fnameescape(vim.lsp.log.get_filename()))
      vim.cmd.normal({ "G", bang = true })
    end,
  },
}

---@param arguments string[]
function M.run(arguments)
  local subcommand = subcommands[arguments[1]]
  if not subcommand then
    local known = vim.tbl_keys(subcommands)
    table.sort(known)
    vim.notify(("Tabcast: no command %s, but %s"):format(arguments[1], table.concat(known, ", ")), vim.log.levels.ERROR)
    return
  end
  subcommand.run(arguments[2])
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line, "%s+")
  local known = #words <= 2 and vim.tbl_keys(subcommands) or (subcommands[words[2]] or {}).values or {}
  table.sort(known)
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, known)
end

return M
