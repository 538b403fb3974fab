"""How the PDF looks: the beginning of its Typst document, with the functions that its blocks call."""

PAGE = """\
#set page(paper: "a4", margin: (x: 19mm, top: 18mm, bottom: 20mm), numbering: "1 / 1", number-align: center)
#set text(font: "Libertinus Serif", size: 10pt, lang: "en", region: "GB")
#set par(justify: true, leading: 0.62em, spacing: 0.95em)
#set heading(numbering: none)
#show heading.where(level: 1): it => block(below: 0.9em)[
  #set text(size: 20pt, weight: "bold")
  #set par(justify: false)
  #it.body
  #v(-0.45em)
  #line(length: 100%, stroke: 0.8pt)
]
#show heading.where(level: 2): it => block(above: 1.7em, below: 0.8em, sticky: true, text(size: 13.5pt, it.body))
#show heading.where(level: 3): it => block(above: 1.3em, below: 0.7em, sticky: true, text(size: 11pt, it.body))
#set list(indent: 0.4em, spacing: 0.6em)
#set table(
  inset: (x: 3.6pt, y: 2.7pt),
  stroke: none,
  fill: (_, y) => if y > 0 and calc.even(y) { luma(245) },
)
#show table: set text(number-width: "tabular")
#show table: set par(justify: false, leading: 0.5em)
#show table.cell.where(y: 0): set text(weight: "bold")
#set table.hline(stroke: 0.6pt)
#show raw: set text(font: "DejaVu Sans Mono", size: 0.84em)
#show raw.where(block: true): it => block(width: 100%, fill: luma(246), inset: 7pt, radius: 2pt, it)
#show link: it => if type(it.dest) == str { text(fill: rgb("#1f4e8c"), it) } else { it }

// a table with its caption above it, on the same page
#let data-table(caption: none, breakable: true, ..content) = block(
  above: 1.2em, below: 1.2em, width: 100%, breakable: breakable,
  {
    if caption != none { block(sticky: true, below: 0.8em, par(caption)) }
    // a table that is a little too wide gets smaller letters; one that is much too wide, lines that break
    layout(size => {
      set text(size: 8pt)
      let fit = calc.clamp(size.width / measure(table(..content)).width, 0.84, 1)
      set text(size: 8pt * fit)
      set table(inset: (x: 3.6pt * fit, y: 2.7pt))
      align(center, table(..content))
    })
  },
)

// below a figure or a gallery
#let said-below(number, caption) = block(width: 96%, {
  set text(size: 8.6pt)
  set par(justify: true, leading: 0.55em)
  align(left, par([Figure #number. ] + caption))
})

#let captioned(body, number, caption) = block(
  above: 1.2em, below: 1.2em, width: 100%, breakable: false,
  align(center, { body; v(0.1em, weak: true); said-below(number, caption) }),
)

// a picture at its own resolution: its title above, its note below, titles of its columns where it has some
#let picture(path, alt, title, note, across) = block(breakable: false, width: 100%, align(center, {
  set text(size: 7.5pt)
  set par(justify: false, leading: 0.5em, spacing: 0.55em)
  if title != [] { par(strong(title)) }
  if note != [] { par(note) }
  if across.len() > 0 {
    grid(columns: (1fr,) * across.len(), ..across.map(it => align(center, it)))
    v(0.35em, weak: true)
  }
  if path != none { image(path, alt: alt, width: 100%, scaling: if across.len() > 0 { "pixelated" } else { "smooth" }) }
}))

#let gallery(columns, width, number, caption, ..pictures) = {
  set block(breakable: true)
  align(center, block(above: 1.2em, below: 0.7em, width: width, grid(
    columns: (1fr,) * columns, column-gutter: 4mm, row-gutter: 3mm, ..pictures.pos(),
  )))
  block(sticky: false, below: 1.2em, align(center, said-below(number, caption)))
}
"""
