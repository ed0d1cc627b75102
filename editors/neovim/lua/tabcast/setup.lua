-- `:Tabcast setup`: shows which model the server recommends for this machine, and lets it be set up after a yes.

local M = {}

---What the server's status names where nobody has chosen a model.
M.SHIPPED_PAIR = "the shipped pair"
local COMMAND = "tabcast.server.setup"
local YES, NO = "Set it up", "Not now"

---@class tabcast.Recommendation
---@field name string
---@field title string
---@field kind string
---@field source string disk, pull, bundled or in use
---@field download_bytes integer
---@field memory_bytes integer
---@field tokens_per_second number 0 where it isn't known
---@field reason string

---@class tabcast.SetupAnswer
---@field outcome string recommended, done, undone, failed, cancelled or busy
---@field message string
---@field recommendation? tabcast.Recommendation
---@field model string
---@field completion string
---@field config string

---The last setup that was asked for, so that it can be cancelled.
---@type { client: vim.lsp.Client, id: integer }?
local last

---@param text string
---@param level? integer
local function say(text, level)
  vim.notify("Tabcast: " .. text, level)
end

---@return boolean
local function is_running()
  local request = last and not last.client:is_stopped() and last.client.requests[last.id]
  return request and request.type == "pending" or false
end

---@param bytes integer
---@return string
local function size(bytes)
  return bytes >= 1e8 and ("%.1f GB"):format(bytes / 1e9) or ("%.1f MB"):format(bytes / 1e6)
end

---@param recommended tabcast.Recommendation
---@return string
local function describe(recommended)
  local fetched = recommended.download_bytes
  local parts = {
    fetched > 0 and size(fetched) .. " to fetch" or "nothing to fetch",
    size(recommended.memory_bytes) .. " of memory",
  }
  if recommended.tokens_per_second > 0 then
    parts[#parts + 1] = ("about %.0f tokens a second"):format(recommended.tokens_per_second)
  end
  local name = ("%s, %s"):format(recommended.title, recommended.kind)
  return ("%s: %s\n%s"):format(name, table.concat(parts, ", "), recommended.reason)
end

---@param answer tabcast.SetupAnswer
local function conclude(answer)
  if answer.outcome == "done" then
    local has_text = answer.completion ~= ""
    local completed = has_text and "It completes: " .. vim.trim(answer.completion) or "It suggests nothing for the sample"
    -- a single word is why a completion ended where it did
    local is_told = answer.message:find(" ") or (not has_text and answer.message ~= "")
    local told = is_told and (" (%s)"):format(answer.message) or ""
    say(("%s is set up. %s%s\n`:Tabcast setup undo` puts back what was before."):format(answer.model, completed, told))
  elseif answer.outcome == "undone" then
    say(("the setup is undone. %s: %s"):format(answer.config, answer.message))
  else
    say(answer.message, answer.outcome == "failed" and vim.log.levels.ERROR or vim.log.levels.WARN)
  end
end

---@param execute tabcast.Execute
---@param options table
---@param take fun(answer: tabcast.SetupAnswer)
local function ask(execute, options, take)
  local client, id = execute(COMMAND, { options }, take)
  last = client and id and { client = client, id = id } or last
end

---@param execute tabcast.Execute
local function recommend(execute)
  say("measuring how fast this machine is")
  ask(execute, { action = "recommend" }, function(answer)
    local recommended = answer.recommendation
    if answer.outcome ~= "recommended" or type(recommended) ~= "table" then
      conclude(answer)
      return
    end
    say("recommended is " .. describe(recommended))
    if recommended.source == "in use" then
      return
    end
    vim.ui.select({ YES, NO }, { prompt = ("Set up %s?"):format(recommended.name) }, function(choice)
      if choice == YES then
        ask(execute, { action = "run", model = recommended.name }, conclude)
      end
    end)
  end)
end

---@param execute tabcast.Execute
---@param what? string undo or cancel; nothing recommends a model
function M.run(execute, what)
  if what == "cancel" then
    if last and is_running() then
      last.client:cancel_request(last.id)
      say("the setup is cancelled; the configuration is unchanged")
    else
      say("no setup is running")
    end
  elseif is_running() then
    say("a setup is running already (`:Tabcast setup cancel` ends it)", vim.log.levels.WARN)
  elseif what == "undo" then
    ask(execute, { action = "undo" }, conclude)
  elseif what then
    say(("setup takes undo, cancel or nothing, not %s"):format(what), vim.log.levels.ERROR)
  else
    recommend(execute)
  end
end

return M
