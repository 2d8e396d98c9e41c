// Ends the agent: what it was given is revoked, what it made is removed.

'use strict'

const { act, run } = require('../run.js')

const { STATE_python: python, STATE_instance: instance } = process.env

act(() => {
  if (!instance) return // main found no Python, and nothing was issued
  // Quick by itself, and a job that is cancelled must not keep it from revoking.
  run(python, ['agent', 'stop', '--instance', instance], () => {})
})
