;;; emacs.el --- What an Emacs under test does  -*- lexical-binding: t -*-

;; Environment: TEST_COMMAND (a program and its arguments, without blanks in them), TEST_CLIENT (lsp-mode or eglot),
;; TEST_FILE. The file is completed behind the first `r' that stands alone, and saved.

;;; Code:

(setq native-comp-enable-subr-trampolines nil) ; the unpacked Emacs has no compiler
(load (expand-file-name "../../editors/emacs/tabcast.el" (file-name-directory load-file-name)))
(setq tabcast-command (split-string (getenv "TEST_COMMAND")))

(defun test-wait (what look)
  "Wait until LOOK returns something, and return that; WHAT is for the error."
  (let ((deadline (+ (float-time) 90)) found)
    (while (not (setq found (funcall look)))
      (when (> (float-time) deadline)
        (error "Waited too long for %s" what))
      (accept-process-output nil 0.05))
    found))

(defun test-with-lsp-mode ()
  "See the ghost text and accept it."
  (require 'lsp-mode)
  (require 'lsp-inline-completion)
  (setq lsp-auto-guess-root t lsp-keep-workspace-alive nil lsp-enable-file-watchers nil lsp-warn-no-matched-clients nil
        lsp-session-file (expand-file-name "session" (getenv "HOME")) lsp-enabled-clients '(tabcast))
  (lsp)
  (test-wait "the server" (lambda () (lsp-feature? "textDocument/inlineCompletion")))
  (lsp-inline-completion-display)
  (test-wait "ghost text" (lambda () (lsp-inline-completion--overlay-visible)))
  (message "GHOST %S" (overlay-get lsp-inline-completion--overlay 'display))
  (lsp-inline-completion-accept))

(defun test-with-eglot ()
  "Complete at point."
  (require 'eglot)
  (setq eglot-sync-connect 90)
  (apply #'eglot--connect (eglot--guess-contact))
  (test-wait "the server" #'eglot-managed-p)
  (let* ((found (eglot-completion-at-point))
         (candidates (all-completions "r" (nth 2 found))))
    (message "CANDIDATES %S" candidates)
    (delete-region (nth 0 found) (nth 1 found))
    (insert (car candidates))
    (funcall (plist-get (nthcdr 3 found) :exit-function) (car candidates) 'finished)))

(defun overlay-visible-compat ()
  "Whether lsp-mode shows ghost text."
  (and (overlayp lsp-inline-completion--overlay) (overlay-buffer lsp-inline-completion--overlay)))

(unless (fboundp 'lsp-inline-completion--overlay-visible)
  (defalias 'lsp-inline-completion--overlay-visible #'overlay-visible-compat))

(find-file (getenv "TEST_FILE"))
(goto-char (point-min))
(re-search-forward "^ +r$")
(pcase (getenv "TEST_CLIENT")
  ("lsp-mode" (test-with-lsp-mode))
  ("eglot" (test-with-eglot)))
(save-buffer)
(kill-emacs 0)
