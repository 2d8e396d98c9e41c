// Removes what main put there.

'use strict'

const fs = require('node:fs')

const { act } = require('../run.js')

act(() => {
  if (process.env.STATE_folder) fs.rmSync(process.env.STATE_folder, { recursive: true, force: true })
})
