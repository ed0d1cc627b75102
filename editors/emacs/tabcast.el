;;; tabcast.el --- Tabcast in Emacs  -*- lexical-binding: t -*-

;; Load this file, or copy what you need, and put the command `tabcast' on the PATH.
;; lsp-mode 10 shows ghost text; eglot (part of Emacs 29 and later) has the suggestion among its completions.

;;; Code:

(defvar tabcast-command '("tabcast" "lsp")
  "The program that is started, and its arguments.")

;; lsp-mode: an add-on beside the language's own server.
;; `lsp-inline-completion-mode' asks by itself after `lsp-inline-completion-idle-delay' seconds without a key (2 by
;; default), `M-x lsp-inline-completion-display' at once. On the ghost text `C-<return>' accepts, `C-n' and `C-p'
;; cycle, and any other key dismisses.
(with-eval-after-load 'lsp-mode
  (lsp-register-client
   (make-lsp-client :new-connection (lsp-stdio-connection (lambda () tabcast-command))
                    :activation-fn (lambda (_file mode) (provided-mode-derived-p mode 'prog-mode))
                    :add-on? t
                    :priority -2
                    :server-id 'tabcast))
  (setq lsp-inline-completion-idle-delay 0.1))

;; eglot has one server for each buffer: this takes the place of Python's own.
;; Where that is no loss, `M-x eglot' starts it, and `C-M-i' (or company, or corfu) shows the suggestion.
(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs
               `((python-mode python-ts-mode) . ,(lambda (&rest _) tabcast-command))))

(provide 'tabcast)
;;; tabcast.el ends here
