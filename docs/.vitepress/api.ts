/**
 * The API reference: a page for each public module, from the doc comments that typedoc finds. A declaration is shown as
 * the source writes it, without its code: what typedoc prints of Effect's types is neither short nor what one would write.
 */
import GithubSlugger from "github-slugger"
import { format } from "oxfmt"
import { Application, Comment, type Context, type DeclarationReflection } from "typedoc"
import ts from "typescript"
import { modules as publicModules } from "./pages.ts"

/** In the order of a page. */
const categories = [
  "constructors",
  "layers",
  "middleware",
  "services",
  "accessors",
  "combinators",
  "converting",
  "guards",
  "options",
  "models",
  "errors",
  "testing",
  "type IDs",
  "utility types"
]

// -----------------------------------------------------------------------------
// Declarations
// -----------------------------------------------------------------------------

const isFunction = (node: ts.Node | undefined): node is ts.ArrowFunction | ts.FunctionExpression =>
  node !== undefined && (ts.isArrowFunction(node) || ts.isFunctionExpression(node))

const typeParameters = (node: ts.SignatureDeclaration): string =>
  node.typeParameters === undefined ? "" : `<${node.typeParameters.map((p) => p.getText()).join(", ")}>`

const parameter = (node: ts.ParameterDeclaration): string => {
  const name = ts.isIdentifier(node.name) ? node.name.text.replace(/^_/, "") : "options"
  const optional = node.questionToken !== undefined || node.initializer !== undefined ? "?" : ""
  return `${node.dotDotDotToken === undefined ? "" : "..."}${name}${optional}: ${node.type?.getText() ?? "unknown"}`
}

/** `(options?: Options) => Result`, or with a colon; of a function that returns one, both. */
const signature = (node: ts.ArrowFunction | ts.FunctionExpression, before: string): string | undefined => {
  const result =
    node.type?.getText() ??
    (ts.isArrowFunction(node) && isFunction(node.body) ? signature(node.body, " => ") : undefined)
  return result && `${typeParameters(node)}(${node.parameters.map(parameter).join(", ")})${before}${result}`
}

/** A member of a class without its code. Those that override Effect's, or are named by a symbol, are for Effect. */
const member = (node: ts.ClassElement, checker: ts.TypeChecker): ReadonlyArray<string> => {
  const overrides =
    ts.canHaveModifiers(node) && node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.OverrideKeyword)
  if (node.name === undefined || ts.isComputedPropertyName(node.name) || overrides) return []
  const type = (typed: ts.TypeNode | undefined) =>
    typed?.getText() ?? checker.typeToString(checker.getTypeAtLocation(node))
  if (ts.isPropertyDeclaration(node)) {
    return [`${node.getText().slice(0, node.name.end - node.getStart())}: ${type(node.type)}`]
  }
  const body = (ts.isMethodDeclaration(node) || ts.isAccessor(node)) && node.body
  return [body ? node.getText().slice(0, body.getStart() - node.getStart()) : node.getText()]
}

const shown = (node: ts.Declaration, checker: ts.TypeChecker): string => {
  if (ts.isClassDeclaration(node)) {
    const head = node.getText().slice(0, (node.heritageClauses ?? node.members).end - node.getStart())
    return `${head.replace(/^export /, "declare ")} {\n${node.members.flatMap((of) => member(of, checker)).join("\n")}\n}`
  }
  if (ts.isVariableDeclaration(node)) {
    const name = node.name.getText()
    if (node.type !== undefined) return `declare const ${name}: ${node.type.getText()}`
    if (isFunction(node.initializer)) {
      const written = node.initializer.type && signature(node.initializer, ": ")
      if (written !== undefined) return `declare function ${name}${written}`
      const curried = signature(node.initializer, " => ")
      if (curried !== undefined) return `declare const ${name}: ${curried}`
    }
    const flags = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.UseAliasDefinedOutsideCurrentScope
    return `declare const ${name}: ${checker.typeToString(checker.getTypeAtLocation(node), node, flags)}`
  }
  return node.getText().replace(/^export /, "")
}

const code = async (text: string): Promise<string> => {
  const { code, errors } = await format("a.ts", text, {
    printWidth: 88,
    semi: false,
    trailingComma: "none",
    jsdoc: true
  })
  if (errors.length > 0) throw new Error(`${errors[0]!.message}:\n${text}`)
  return code.trim().replace(/^declare /, "")
}

// -----------------------------------------------------------------------------
// Comments
// -----------------------------------------------------------------------------

interface Doc {
  readonly text: string
  readonly tags: ReadonlyMap<string, string>
}

const docOf = (comment: Comment): Doc => ({
  text: Comment.combineDisplayParts(comment.summary),
  tags: new Map(comment.blockTags.map(({ content, tag }) => [tag, Comment.combineDisplayParts(content)]))
})

/** The comment above a module or an export specifier: typedoc gives neither. */
const docAbove = (node: ts.Node): Doc => {
  const source = node.getSourceFile().text
  const range = ts.getLeadingCommentRanges(source, node.pos)?.[0]
  if (range === undefined) return { text: "", tags: new Map() }
  const [text = "", ...tags] = source
    .slice(range.pos, range.end)
    .replace(/^\/\*\*\s*|\s*\*\/$/g, "")
    .replace(/^\s*\* ?/gm, "")
    .split(/^@/m)
  return {
    text: text.trim(),
    tags: new Map(tags.map((tag) => [`@${/^\w+/.exec(tag)}`, tag.replace(/^\w+\s+/, "").trim()]))
  }
}

const badges = ({ tags }: Doc): string => {
  const stability = tags.get("@stability")
  const type = stability === "experimental" ? "warning" : stability === "stable" ? "tip" : "info"
  // In a paragraph: a line that begins with an element of its own is none.
  return `<p><Badge type="${type}" text="${stability}" /> <Badge type="info" text="since ${tags.get("@since")}" /></p>`
}

// -----------------------------------------------------------------------------
// Pages
// -----------------------------------------------------------------------------

interface Entry {
  readonly name: string
  readonly doc: Doc
  readonly declarations: ReadonlyArray<ts.Declaration>
  readonly symbol: ts.Symbol
}

interface Module {
  readonly name: string
  readonly doc: Doc
  readonly entries: ReadonlyArray<Entry>
}

export interface Page {
  readonly file: string
  readonly text: string
}

const modulesOf = async (root: string): Promise<{ modules: ReadonlyArray<Module>; checker: ts.TypeChecker }> => {
  const app = await Application.bootstrapWithPlugins({
    entryPoints: [`${root}/src/*.ts`, `${root}/src/testing/Session*.ts`],
    exclude: [`${root}/src/index.ts`],
    tsconfig: `${root}/src/tsconfig.json`,
    blockTags: ["@category", "@stability", "@since", "@default", "@effect-diagnostics"],
    excludeInternal: true,
    excludeExternals: true,
    skipErrorChecking: true,
    sort: ["source-order"],
    readme: "none",
    treatWarningsAsErrors: true
  })
  let context: Context | undefined
  app.converter.on("end", (end: Context) => void (context = end))
  const entryPoints = app.getEntryPoints() ?? []
  const project = app.converter.convert(entryPoints)
  if (context === undefined || app.logger.hasErrors() || app.logger.hasWarnings()) throw new Error("typedoc failed")
  const checker = entryPoints[0]!.program.getTypeChecker()
  const symbolOf = (reflection: DeclarationReflection) => context!.getSymbolFromReflection(reflection)!

  const entryOf = (of: DeclarationReflection, specifiers: ReadonlyMap<string, ts.ExportSpecifier>): Entry => {
    const symbol = symbolOf(of)
    const actual = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    const comment = of.comment ?? of.signatures?.[0]?.comment
    const specifier = specifiers.get(of.name)
    const docs = [...(specifier ? [docAbove(specifier)] : []), ...(comment ? [docOf(comment)] : [])]
    return {
      name: of.name,
      doc: docs.find(({ tags }) => tags.has("@category")) ?? { text: "", tags: new Map() },
      declarations: actual.declarations ?? [],
      symbol: actual
    }
  }
  const modules = (project.children ?? []).map((module): Module => {
    const { sourceFile } = entryPoints.find(({ displayName }) => displayName === module.name)!
    const specifiers = new Map(
      sourceFile.statements
        .filter(ts.isExportDeclaration)
        .flatMap(({ exportClause }) => (exportClause && ts.isNamedExports(exportClause) ? exportClause.elements : []))
        .map((specifier) => [specifier.name.text, specifier])
    )
    const entries = new Map<string, Entry>()
    for (const child of module.children ?? []) {
      const entry = entryOf(child, specifiers)
      // A schema and the type of its name stand together.
      const other = entries.get(entry.name)
      const text = other === undefined ? entry.doc.text : `${other.doc.text}\n\n${entry.doc.text}`
      entries.set(entry.name, { ...entry, doc: { ...entry.doc, text } })
    }
    return { name: module.name, doc: docAbove(sourceFile.statements[0]!), entries: [...entries.values()] }
  })
  return { modules, checker }
}

/** What is documented of the types that a declaration names: `[Definition](/api/Session#definition)`. */
const named = (
  entry: Entry,
  links: ReadonlyMap<ts.Symbol, { readonly name: string; readonly link: string }>,
  checker: ts.TypeChecker
): ReadonlyArray<string> => {
  const found = new Map<ts.Symbol, string>()
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const symbol = checker.getSymbolAtLocation(node)
      const actual = symbol && (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol)
      const to = actual && actual !== entry.symbol ? links.get(actual) : undefined
      if (to !== undefined) found.set(actual!, `[${to.name}](${to.link})`)
    }
    // Not what the code names.
    ts.forEachChild(node, (child) => {
      if (!ts.isBlock(child) && !(ts.isArrowFunction(node) && child === node.body && !isFunction(child))) visit(child)
    })
  }
  for (const declaration of entry.declarations) {
    visit(ts.isVariableDeclaration(declaration) && declaration.type ? declaration.type : declaration)
  }
  return [...found.values()]
}

/** How a module is imported: by its path always, and from where it stands beside others. */
const importOf = (name: string, from: string): string => {
  const last = name.split("/").at(-1)!
  const alone = `import * as ${last} from "effect-sessions/${name}"`
  return from.endsWith("*") ? alone : `import { ${last} } from "${from}"\n// or by itself\n${alone}`
}

export const apiPages = async (root: string): Promise<ReadonlyArray<Page>> => {
  const { checker, modules } = await modulesOf(root)

  // First where everything stands, as what is shown links to it.
  const links = new Map<ts.Symbol, { readonly name: string; readonly link: string }>()
  const plans = modules.map((module) => {
    const slugger = new GithubSlugger()
    slugger.slug(module.name)
    const groups = categories.flatMap((category) => {
      const entries = module.entries.filter(({ doc }) => doc.tags.get("@category") === category)
      return entries.length === 0 ? [] : [{ title: category[0]!.toUpperCase() + category.slice(1), entries }]
    })
    const count = groups.reduce((sum, { entries }) => sum + entries.length, 0)
    if (count !== module.entries.length) {
      const lost = module.entries.filter(({ doc }) => !categories.includes(doc.tags.get("@category") ?? ""))
      throw new Error(`${module.name}: no category has ${lost.map(({ name }) => name).join(", ")}`)
    }
    for (const { entries, title } of groups) {
      slugger.slug(title)
      for (const { name, symbol } of entries) {
        const link = `/api/${module.name}#${slugger.slug(name)}`
        if (!links.has(symbol)) links.set(symbol, { name, link })
      }
    }
    return { module, groups }
  })

  const printed = async (entry: Entry): Promise<string> => {
    const texts = await Promise.all(entry.declarations.map((declaration) => code(shown(declaration, checker))))
    const see = named(entry, links, checker)
    // **When to use**, **Details**, **Example** and the like come after the declaration.
    const [intro = "", ...more] = entry.doc.text.split(/\n\n(?=\*\*)/)
    return [
      `### ${entry.name}`,
      badges(entry.doc),
      intro,
      `\`\`\`ts\n${texts.join("\n\n")}\n\`\`\``,
      ...(see.length === 0 ? [] : [`See ${see.join(", ")}.`]),
      ...more
    ].join("\n\n")
  }
  const groupOf = (name: string) => publicModules().find(({ names }) => names.includes(name))!
  const pages = plans.map(async ({ groups, module }): Promise<Page> => {
    const sections = groups.map(async ({ entries, title }) =>
      [`## ${title}`, ...(await Promise.all(entries.map(printed)))].join("\n\n")
    )
    const head = [
      `# ${module.name}`,
      badges(module.doc),
      `\`\`\`ts\n${importOf(module.name, groupOf(module.name).from)}\n\`\`\``,
      module.doc.text
    ]
    return { file: `${module.name}.md`, text: [...head, ...(await Promise.all(sections))].join("\n\n") + "\n" }
  })
  const overview = publicModules().map(({ from, names }) => {
    const rows = names.map((name) => {
      const { doc } = modules.find((module) => module.name === name)!
      return `| [${name}](/api/${name}) | ${doc.text.split("\n\n")[0]!.replaceAll("\n", " ").replaceAll("|", "\\|")} |`
    })
    return [`## ${from}`, ["| | |", "| --- | --- |", ...rows].join("\n")].join("\n\n")
  })
  return [{ file: "index.md", text: ["# API", ...overview].join("\n\n") + "\n" }, ...(await Promise.all(pages))]
}
