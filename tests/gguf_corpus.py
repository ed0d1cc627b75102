"""Code and prose in ten languages and more: what tokenizers have to split alike."""

from __future__ import annotations

PYTHON = '''def fold(items: list[int], *, base=0x1F, eps=1e-06):
    """Adds them up; it's "naïve", isn't it? They'll say we've done."""
    total = 12345678 + 3.14159
\tfor i, x in enumerate(items[::-1]):   # tab, then spaces\x20\x20\x20
        if x % 2 == 0 and not (x & 0b101): total += x ** 2 // 7


    return {f"{k!r:>10}": v for k, v in zip("abc", range(1_000))}
'''
TYPESCRIPT = """export async function get<T>(url: string, n?: number): Promise<T | null> {
  const res = await fetch(`${url}?page=${n ?? 1}&q=${encodeURIComponent("a b")}`);
  if (!res.ok) { throw new Error("HTTP " + res.status); }
  return (await res.json()) as T; // ===, !==, =>, ?.
}
"""
GO = """package main

import (
\t"fmt"
)

func main() {
\tch := make(chan int, 10)
\tgo func() { ch <- 42 }()
\tfmt.Println(<-ch)
}
"""
RUST = """impl<'a> Iterator for Words<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<Self::Item> { self.0.pop() }
}
"""
C = """#include <stdio.h>
#define MAX(a,b) ((a)>(b)?(a):(b))
int main(void){unsigned char *p=0;return p!=NULL&&p[0]=='\\n';}\r
\r
/* end */\r
"""
SQL = "SELECT COUNT(*) AS n FROM users u LEFT JOIN logs l ON u.id=l.uid WHERE l.at >= '2024-01-31' GROUP BY 1;\n"
HTML = "<div class=\"a b\" id='x'>\n  <!-- note --><p>&nbsp;caf&eacute;</p>\n</div>\n"
PROSE = {
    "English": "It's 5 o'clock; WE'RE late, they'd said. \"Don't!\" — e.g. 1,234.50 USD...\n\n",
    "German": "Straße, Übermut und Größe: „Zitat“ kostet 3,50 €.\n",
    "French": "L'été, où naît l'œuvre ; ça va ?\n",
    "Spanish": "¿Cómo estás? ¡Muy bien, señor! 25 %\n",
    "Russian": "Съешь ещё этих мягких французских булок, 2024 год.\n",
    "Greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.\n",
    "Arabic": "السلام عليكم ورحمة الله ١٢٣٤\n",
    "Hindi": "नमस्ते दुनिया, कैसे हैं आप? १२३\n",
    "Chinese": "你好，世界！今天是2024年6月1日。\n",
    "Japanese": "これはテストです。カタカナと漢字、12個。\n",
    "Korean": "안녕하세요, 세계! 값은 3만 원입니다.\n",
    "Thai": "สวัสดีชาวโลก ๑๒๓\n",
    "Vietnamese": "Tiếng Việt có dấu: ngữ nghĩa, được.\n",
    "signs": "🎉👩‍👩‍👧 ½ ² ⅷ \u00a0\u2003nbsp \t\t\n \n  \n\n   x\r\n\r\ny \ufeff\u200b ~~ -->> ==== ____ \x00\x07\n",
}
CORPUS = (PYTHON, TYPESCRIPT, GO, RUST, C, SQL, HTML, *PROSE.values())
