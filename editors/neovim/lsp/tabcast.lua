-- How Neovim starts the server: `vim.lsp.enable("tabcast")` finds this file on the runtime path.

---@type vim.lsp.Config
return {
  cmd = { "tabcast", "lsp" },
  -- Not the workspace, so that nothing in one can be imported or run by accident.
  cmd_cwd = vim.uv.os_homedir(),
  filetypes = {
    "c",
    "cpp",
    "cs",
    "go",
    "java",
    "javascript",
    "javascriptreact",
    "kotlin",
    "lua",
    "php",
    "python",
    "ruby",
    "rust",
    "scala",
    "sh",
    "sql",
    "swift",
    "typescript",
    "typescriptreact",
    "zig",
  },
  capabilities = { experimental = { tabcastStatus = true } },
  handlers = {
    ["tabcast/status"] = function(_, params)
      require("tabcast.status").set(params)
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
