-- A plugin spec for lazy.nvim: the plugin is a subfolder of the repository.
return {
  "tabcast/tabcast",
  event = "InsertEnter",
  config = function(plugin)
    vim.opt.runtimepath:append(plugin.dir .. "/editors/neovim")
    vim.lsp.enable("tabcast")
    require("tabcast").setup({ keys = { accept = "<Tab>" } })
  end,
}
