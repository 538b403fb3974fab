"""How the PDF looks: the beginning of its Typst document, with the functions that its blocks call."""

PAGE = """\
// the size of pictures: a little smaller where the last page would be nearly empty
#let tight = float(sys.inputs.at("tight", default: "1"))
#let low = float(sys.inputs.at("low", default: "0")) * 1mm
#set page(paper: "a4", margin: (x: 19mm, top: 18mm, bottom: 20mm + low), footer-descent: 6mm + low)
#set page(numbering: "1 / 1", number-align: center)
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
#show heading.where(level: 2): it => block(above: 1.5em, below: 0.8em, sticky: true, text(size: 13.5pt, it.body))
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

// where the sections are, in two columns
#let contents() = context {
  let found = query(heading.where(level: 2))
  let half = calc.ceil(found.len() / 2)
  let line(it) = link(it.location(), {
    it.body
    box(width: 1fr, inset: (x: 3pt), repeat[#h(1.5pt).#h(1.5pt)])
    str(counter(page).at(it.location()).first())
  })
  block(above: 1.1em, below: 0.4em, inset: (x: 2mm), grid(
    columns: (1fr, 1fr), column-gutter: 9mm, row-gutter: 0.6em,
    ..range(half).map(i => (line(found.at(i)), if i + half < found.len() { line(found.at(i + half)) })).flatten(),
  ))
}

// a table with its caption above it, on the same page. Where it is too wide, the titles of numbers stand upright; then
// its letters get smaller, and at last lines break
#let data-table(caption: none, breakable: true, titles: (), columns: 1, align: (), ..cells) = block(
  above: 1.2em, below: 1.2em, width: 100%, breakable: breakable,
  {
    if caption != none { block(sticky: true, below: 0.8em, par(caption)) }
    let upright(title, side) = if side == right { rotate(-90deg, reflow: true, title) } else { title }
    let whole(titles) = table(
      columns: columns,
      align: (x, y) => align.at(x) + if y == 0 { bottom } else { top },
      table.header(..titles, table.hline()), ..cells,
    )
    layout(size => {
      set text(size: 8pt)
      let wide = measure(whole(titles)).width > size.width
      let made = whole(if wide { titles.zip(align).map(pair => upright(..pair)) } else { titles })
      let fit = calc.clamp(size.width / measure(made).width, 0.72, 1)
      set text(size: 8pt * fit)
      set table(inset: (x: 3.6pt * fit, y: 2.7pt))
      std.align(center, made)
    })
  },
)

// below a figure or a gallery
#let said-below(number, caption) = block(width: 96%, {
  set text(size: 8.6pt)
  set par(justify: true, leading: 0.55em)
  align(left, par([Figure #number. ] + caption))
})

// a figure as large as it was drawn, as far as it fits the page's width and a third of its height; one with very many
// parts may be higher, since its letters must be read. It may go to the top or the bottom of a page, so that text and
// not white fills the page before. Below its heading a figure stays there (auto: unless it is high)
#let captioned(path, alt, number, caption, floats: true) = context {
  let own = measure(image(path))
  let scale = calc.min(1, 172mm / own.width, calc.max(0.7, 86mm / own.height))
  let made = block(above: 1.2em, below: 1.2em, width: 100%, breakable: false, align(center, {
    image(path, alt: alt, width: own.width * scale * tight)
    v(0.1em, weak: true)
    said-below(number, caption)
  }))
  if floats == true or (floats == auto and own.height * scale > 90mm) {
    place(if here().page() == 1 { bottom } else { top }, float: true, clearance: 1.3em, made) // never above the title
  } else { made }
}

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

// pictures in rows, broken between rows only; the caption stays with the last row
#let gallery(columns, width, number, caption, ..pictures) = {
  let rows = pictures.pos().chunks(columns)
  for (i, row) in rows.enumerate() {
    block(above: if i == 0 { 1.2em } else { 3mm }, below: 0.7em, sticky: i + 1 == rows.len(), breakable: false,
      align(center, grid(columns: (width * tight,) * columns, column-gutter: 4mm, ..row)))
  }
  block(below: 1.2em, align(center, said-below(number, caption)))
}
"""
