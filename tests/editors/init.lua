-- What editors/README.md tells users to put into init.lua, with the paths and the command of the test.
vim.opt.swapfile = false
vim.opt.runtimepath:append(vim.env.TEST_PLUGIN)
vim.lsp.config("tabcast", {
  cmd = vim.json.decode(vim.env.TEST_COMMAND),
  settings = { tabcast = { minConfidence = 0 } },
})
vim.lsp.enable("tabcast")
if vim.env.TEST_SHOWS == "builtin" then
  vim.lsp.inline_completion.enable()
  vim.keymap.set("i", "<Tab>", require("tabcast.builtin").accept, { expr = true })
else
  require("tabcast").setup({
    keys = {
      accept = "<Tab>",
      accept_word = "<C-l>",
      accept_line = "<C-j>",
      next = "<C-b>",
      prev = "<C-g>",
      dismiss = "<C-]>",
    },
  })
end

-- For the tests to wait on: how many requests were sent and how many were answered.
vim.g.num_sent, vim.g.num_answered = 0, 0
vim.api.nvim_create_autocmd("LspRequest", {
  callback = function(event)
    local request = event.data.request
    if request.method == "textDocument/inlineCompletion" then
      if request.type == "pending" then
        vim.g.num_sent = vim.g.num_sent + 1
      elseif request.type == "complete" then
        vim.g.num_answered = vim.g.num_answered + 1
      end
    end
  end,
})
