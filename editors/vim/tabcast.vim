vim9script
# Tabcast in Vim 9 with https://github.com/yegappan/lsp, whose pop-up has the suggestion: source this from your vimrc.

g:LspAddServer([{
  name: 'tabcast',
  filetype: ['python'],
  path: 'tabcast',
  args: ['lsp'],
}])
g:LspOptionsSet({autoComplete: true, completionMatcher: 'case'})
