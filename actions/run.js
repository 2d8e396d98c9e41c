// What both actions share: which Python, what is remembered for `post`, and how ci-identity is run.
// Nothing is decided here: that is done in Python, from the bundle beside this file.

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const BUNDLE = path.join(__dirname, 'dist')
const MAIN = '__main__.py'

// No PYTHON* variables, no current folder, no site-packages: of Python's files only its own and ours.
const ISOLATED = '-IS'

const NAMES = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python']
const OLDEST_MINOR = 11
const WHERE_IF_NEW = `import sys; sys.version_info >= (3, ${OLDEST_MINOR}) and print(sys.executable)`
/** Where an ELF file says what it is, how wide, in which order, and for which machine; elf(5). */
const SAME = [0, 1, 2, 3, 4, 5, 18, 19]

/** Return the path of a Python that is new enough: the first program on PATH or in the tool cache.
 *
 * The log names it: earlier steps may have changed PATH.
 */
function findPython () {
  const candidates = [...onPath(), ...inToolCache()].filter(candidate => fs.existsSync(candidate))
  // A script, such as pyenv's, is asked last: it takes 100 ms to say which Python it would start.
  const [programs, others] = [candidates.filter(isByName), candidates.filter(one => !isByName(one))]
  for (const candidate of [...programs, ...others]) {
    const python = programs.includes(candidate) ? candidate : asked(candidate)
    if (!python) continue
    // Not by console.log, which first makes a stream of it, 4 ms.
    fs.writeSync(1, `ci-identity: run by ${python}` + (python === candidate ? '' : `, found as ${candidate}`) + '\n')
    return python
  }
  throw new Error('there is no Python 3.11 or later on PATH or in the tool cache: ' +
    'put a step with `uses: actions/setup-python` before this one')
}

/** True for a program, and no script, whose own name says which Python it is: asking takes 15 ms. */
function isByName (candidate) {
  const file = fs.realpathSync(candidate)
  const minor = /^python3\.(\d+)$/.exec(path.basename(file))?.[1]
  if (!(minor >= OLDEST_MINOR)) return false
  try {
    fs.accessSync(file, fs.constants.X_OK)
    const [its, ours] = [startOf(file), startOf(process.execPath)]
    const loader = /\/[^\0]*\/ld[^\0]*/.exec(its.toString('latin1'))
    return SAME.every(at => its[at] === ours[at]) && (!loader || fs.existsSync(loader[0]))
  } catch {
    return false // it may still run, and then it is asked
  }
}

function startOf (file) {
  const start = Buffer.alloc(4096)
  const opened = fs.openSync(file)
  fs.readSync(opened, start, 0, start.length, 0)
  fs.closeSync(opened)
  return start
}

/** What a Python says that it is; nothing if it is too old, or a shim that has none to start. */
function asked (candidate) {
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 }
  const { spawnSync } = require('node:child_process')
  const said = spawnSync(candidate, [ISOLATED, '-c', WHERE_IF_NEW], options)
  return said.status === 0 && said.stdout.trim()
}

function onPath () {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter(path.isAbsolute)
  return NAMES.flatMap(name => folders.map(folder => path.join(folder, name)))
}

/** What a runner's image or actions/setup-python has put there, newest first. */
function inToolCache () {
  const cache = path.join(process.env.RUNNER_TOOL_CACHE ?? '/opt/hostedtoolcache', 'Python')
  const versions = fs.existsSync(cache) ? fs.readdirSync(cache) : []
  const newestFirst = versions.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  return newestFirst.map(version => path.join(cache, version, process.arch, 'bin', 'python3'))
}

/** Return a path that no other use of an action has, in the folder that ends with the job.
 *
 * Who makes it fails if it is there. No UUID: for one node loads its cryptography, 10 ms.
 */
function newFolder () {
  const name = `ci-identity-${Date.now().toString(36)}-${process.pid}`
  return path.join(process.env.RUNNER_TEMP, name)
}

/** Have `post` find `STATE_<name>`, whatever happens to `main` from here on. */
function saveState (name, value) {
  if (/[\r\n]/.test(value)) throw new Error(`there is a line end in ${JSON.stringify(value)}`)
  fs.appendFileSync(process.env.GITHUB_STATE, `${name}=${value}\n`)
}

/** Be ci-identity from here on, which saves 10 ms; process.execve is experimental, from node 22.15 on. */
function become (python, words) {
  if (!process.execve) return run(python, words, (child, signal) => child.kill(signal))
  process.execve(python, [python, ISOLATED, path.join(BUNDLE, MAIN), ...words])
}

/** Run ci-identity to its end, which is ours: its streams are this step's log, its code is our code.
 *
 * `onSignal` is called with it and the name of a signal; GitHub cancels by SIGINT, then SIGTERM.
 */
function run (python, words, onSignal) {
  const { spawn } = require('node:child_process')
  const child = spawn(python, [ISOLATED, path.join(BUNDLE, MAIN), ...words], { stdio: ['ignore', 'inherit', 'inherit'] })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => onSignal(child, signal))
  child.on('error', fail)
  child.on('exit', (code, signal) => process.exit(code ?? 128 + require('node:os').constants.signals[signal]))
}

/** End the step as failed, with one line in its log. */
function fail (error) {
  const line = error.message.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
  console.log(`::error title=ci-identity::${line}`)
  process.exitCode = 1
}

/** Run `main` or `post`; what it throws is a line in the log and not a stack. */
async function act (body) {
  try {
    await body()
  } catch (error) {
    fail(error)
  }
}

module.exports = { BUNDLE, ISOLATED, MAIN, act, become, findPython, newFolder, run, saveState }
