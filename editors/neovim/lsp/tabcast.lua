-- How Neovim starts the server: `vim.lsp.enable("tabcast")` finds this file on the runtime path.

---@type vim.lsp.Config
return {
  cmd = { "tabcast", "lsp" },
  -- Not the workspace, so that nothing in one can be imported or run by accident.
  cmd_cwd = vim.uv.os_homedir(),
  filetypes = {
    "bash",
    "c",
    "clojure",
    "cmake",
    "conf",
    "cpp",
    "cs",
    "css",
    "cuda",
    "dart",
    "dockerfile",
    "elixir",
    "elm",
    "erlang",
    "fortran",
    "fsharp",
    "gdscript",
    "gitcommit",
    "go",
    "gomod",
    "graphql",
    "groovy",
    "haskell",
    "hcl",
    "html",
    "htmldjango",
    "java",
    "javascript",
    "javascriptreact",
    "json",
    "json5",
    "jsonc",
    "julia",
    "kotlin",
    "less",
    "lisp",
    "lua",
    "make",
    "markdown",
    "nim",
    "nix",
    "objc",
    "ocaml",
    "perl",
    "php",
    "proto",
    "ps1",
    "python",
    "r",
    "ruby",
    "rust",
    "sass",
    "scala",
    "scheme",
    "scss",
    "sh",
    "solidity",
    "sql",
    "svelte",
    "swift",
    "systemverilog",
    "tcl",
    "terraform",
    "tex",
    "text",
    "toml",
    "typescript",
    "typescriptreact",
    "typst",
    "verilog",
    "vhdl",
    "vim",
    "vue",
    "xml",
    "yaml",
    "zig",
    "zsh",
  },
  capabilities = { experimental = { tabcastStatus = true, tabcastRefresh = true } },
  handlers = {
    ["$/progress"] = function(err, params, context)
      if not require("tabcast.completor").take_part(params) then
        return vim.lsp.handlers["$/progress"](err, params, context)
      end
    end,
    ["tabcast/status"] = function(_, params)
      require("tabcast.status").set(params)
    end,
    ["tabcast/refresh"] = function(_, params)
      require("tabcast.completor").ask_again(params.uri)
    end,
  },
  on_init = function(_, result)
    require("tabcast.revive").on_init()
    require("tabcast.notice").on_version(result.serverInfo)
  end,
  on_exit = function(code, signal, client_id)
    require("tabcast.revive").on_exit(code, signal, client_id)
  end,
  root_markers = { "pyproject.toml", "package.json", "Cargo.toml", "go.mod", ".git" },
}
