" Tabcast in Vim with ALE 4 (https://github.com/dense-analysis/ale), whose pop-up has the suggestion: source this from
" your vimrc. <C-n> selects it. ALE takes a suggestion up to its first bracket.

let g:ale_completion_enabled = 1
packadd! ale

call ale#linter#Define('python', {
\ 'name': 'tabcast',
\ 'lsp': 'stdio',
\ 'executable': 'tabcast',
\ 'command': '%e lsp',
\ 'project_root': function('ale#python#FindProjectRoot'),
\})
" Beside those that ALE has for Python without this; put your own list in their place.
let g:ale_linters = {'python': ['flake8', 'mypy', 'pylint', 'pyright', 'ruff', 'tabcast']}
