// Puts `ci-identity` on the PATH of the steps that follow.

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const { BUNDLE, ISOLATED, MAIN, act, findPython, newFolder, saveState } = require('../run.js')

const quoted = word => `'${word.replaceAll("'", "'\\''")}'`

act(() => {
  const python = findPython()
  const folder = newFolder()
  saveState('folder', folder)
  fs.mkdirSync(folder, { mode: 0o755 })
  const bundle = path.join(folder, 'bundle')
  fs.symlinkSync(BUNDLE, bundle) // run from here, it knows that this entry of PATH is its own
  const command = [python, ISOLATED, path.join(bundle, MAIN)].map(quoted).join(' ')
  fs.writeFileSync(path.join(folder, 'ci-identity'), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 })
  fs.appendFileSync(process.env.GITHUB_PATH, `${folder}\n`)
  console.log('ci-identity: on PATH from the next step on')
})
