-- What editors/neovim/doc/tabcast.txt tells users of nvim-cmp and of blink.cmp to put into init.lua.
vim.opt.swapfile = false
vim.o.completeopt = "menu,menuone,noselect"
vim.opt.runtimepath:append(vim.env.TEST_PLUGIN)
for folder in vim.gsplit(vim.env.TEST_MENU_FOLDERS, ":") do
  vim.opt.runtimepath:append(folder)
end
local capabilities
if vim.env.TEST_MENU == "nvim-cmp" then
  local cmp = require("cmp")
  cmp.setup({
    mapping = {
      ["<Tab>"] = function(fallback)
        if not require("tabcast").tab() then
          fallback()
        end
      end,
      ["<C-n>"] = cmp.mapping.select_next_item(),
      ["<C-y>"] = cmp.mapping.confirm({ select = true }),
    },
    sources = { { name = "nvim_lsp" } },
  })
  require("cmp_nvim_lsp").setup()
  capabilities = require("cmp_nvim_lsp").default_capabilities()
  vim.g.menu_is_open = "require('cmp').visible()"
else
  require("blink.cmp").setup({
    keymap = {
      preset = "none",
      ["<Tab>"] = { require("tabcast").tab_keys, "fallback" },
      ["<C-n>"] = { "select_next", "fallback" },
      ["<C-y>"] = { "select_and_accept", "fallback" },
    },
    fuzzy = { implementation = "lua" },
    sources = { default = { "lsp" } },
  })
  capabilities = require("blink.cmp").get_lsp_capabilities()
  vim.g.menu_is_open = "require('blink.cmp').is_menu_visible()"
end
vim.lsp.config("tabcast", {
  capabilities = capabilities,
  cmd = vim.json.decode(vim.env.TEST_COMMAND),
  settings = { tabcast = { minConfidence = 0, completionItems = vim.env.TEST_ITEMS } },
  init_options = { tabcast = { minConfidence = 0, completionItems = vim.env.TEST_ITEMS } },
})
vim.lsp.enable("tabcast")
require("tabcast").setup()
