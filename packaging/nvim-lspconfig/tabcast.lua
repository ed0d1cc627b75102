---@brief
---
--- Tabcast: local code completion with lossless speculative decoding.
---
--- Install the command: `uv tool install tabcast` or `pipx install tabcast`.
--- Neovim 0.12 shows the suggestions as ghost text:
---
--- ```lua
--- vim.lsp.enable('tabcast')
--- vim.lsp.inline_completion.enable()
--- vim.keymap.set('i', '<Tab>', function()
---   if not vim.lsp.inline_completion.get() then
---     return '<Tab>'
---   end
--- end, { expr = true, desc = 'Accept the suggestion' })
--- ```
---
--- `tabcast setup` chooses a model for the machine, `tabcast doctor` checks the installation.

---@type vim.lsp.Config
return {
  cmd = { 'tabcast', 'lsp' },
  -- Not the workspace, so that nothing in one can be imported or run by accident.
  cmd_cwd = vim.uv.os_homedir(),
  filetypes = {
    'bash',
    'c',
    'clojure',
    'cmake',
    'conf',
    'cpp',
    'cs',
    'css',
    'cuda',
    'dart',
    'dockerfile',
    'elixir',
    'elm',
    'erlang',
    'fortran',
    'fsharp',
    'gdscript',
    'gitcommit',
    'go',
    'gomod',
    'graphql',
    'groovy',
    'haskell',
    'hcl',
    'html',
    'htmldjango',
    'java',
    'javascript',
    'javascriptreact',
    'json',
    'json5',
    'jsonc',
    'julia',
    'kotlin',
    'less',
    'lisp',
    'lua',
    'make',
    'markdown',
    'nim',
    'nix',
    'objc',
    'ocaml',
    'perl',
    'php',
    'proto',
    'ps1',
    'python',
    'r',
    'ruby',
    'rust',
    'sass',
    'scala',
    'scheme',
    'scss',
    'sh',
    'solidity',
    'sql',
    'svelte',
    'swift',
    'systemverilog',
    'tcl',
    'terraform',
    'tex',
    'text',
    'toml',
    'typescript',
    'typescriptreact',
    'typst',
    'verilog',
    'vhdl',
    'vim',
    'vue',
    'xml',
    'yaml',
    'zig',
    'zsh',
  },
  root_markers = { 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod', '.git' },
}
