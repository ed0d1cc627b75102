-- For Neovim's own package manager (0.12), in init.lua: the plugin is a subfolder of the repository.
vim.pack.add({ "https://github.com/tabcast/tabcast" }, {
  load = function(package)
    vim.opt.runtimepath:append(package.path .. "/editors/neovim")
  end,
})
vim.lsp.enable("tabcast")
require("tabcast").setup({ keys = { accept = "<Tab>" } })
