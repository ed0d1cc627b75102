-- What is there from the start: the command, the <Plug> mappings, and ghost text where the server is attached.

if vim.g.loaded_tabcast then
  return
end
vim.g.loaded_tabcast = true

local group = vim.api.nvim_create_augroup("tabcast", {})

vim.api.nvim_create_autocmd("LspAttach", {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == "tabcast" then
      require("tabcast.completor").attach(event.buf, client.id)
      require("tabcast.edits").attach(event.buf)
    end
  end,
})

vim.api.nvim_create_autocmd("LspDetach", {
  group = group,
  callback = function(event)
    if package.loaded["tabcast.completor"] then
      require("tabcast.completor").detach(event.buf, event.data.client_id)
    end
    if package.loaded["tabcast.edits"] then
      require("tabcast.edits").detach(event.buf)
    end
  end,
})

vim.api.nvim_create_autocmd("FileType", {
  group = group,
  callback = function(event)
    -- Neovim itself only logs that it can't start a server; true ends the looking
    return vim.bo[event.buf].buftype == "" and require("tabcast.notice").look_for_command(event.match)
  end,
})

for _, name in ipairs({ "accept", "accept_word", "accept_line", "next", "prev", "dismiss", "trigger" }) do
  local lhs = ("<Plug>(tabcast-%s)"):format(name:gsub("_", "-"))
  vim.keymap.set("i", lhs, ("<Cmd>lua require('tabcast').%s()<CR>"):format(name))
end

for _, name in ipairs({ "edit", "edit_dismiss" }) do
  local lhs = ("<Plug>(tabcast-%s)"):format(name:gsub("_", "-"))
  vim.keymap.set({ "n", "i" }, lhs, ("<Cmd>lua require('tabcast').%s()<CR>"):format(name))
end

vim.api.nvim_create_user_command("Tabcast", function(command)
  require("tabcast.commands").run(command.fargs)
end, {
  nargs = "+",
  desc = "Tabcast: why, stats, toggle, snooze, forget, restart, log, model, setup, status",
  complete = function(lead, line)
    return require("tabcast.commands").complete(lead, line)
  end,
})
