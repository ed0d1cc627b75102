{
  description = "Tabcast: local code completion, a language server with lossless speculative decoding";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ];
      package =
        pkgs:
        pkgs.python3Packages.buildPythonApplication {
          pname = "tabcast";
          version = "@VERSION@";
          format = "wheel";
          src = pkgs.fetchurl {
            url = "@URL@/@WHEEL@";
            sha256 = "@WHEEL_SHA256@";
          };
          # nixpkgs has not all grammars, and other versions; without a grammar brackets are counted.
          dontCheckRuntimeDeps = true;
          dependencies = with pkgs.python3Packages; [
            aiohttp
            filelock
            numba
            numpy
            pathspec
            platformdirs
            pygls
            rich
            safetensors
            tokenizers
            tree-sitter
          ];
          pythonImportsCheck = [ "lsp_server.cli" "decoding.protocol" ];
        };
    in
    {
      packages = nixpkgs.lib.genAttrs systems (system: {
        default = package nixpkgs.legacyPackages.${system};
      });
    };
}
