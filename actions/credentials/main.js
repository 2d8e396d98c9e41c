// Starts the agent that holds this use's grants until the job ends.

'use strict'

const { act, findPython, newFolder, run, saveState } = require('../run.js')

act(() => {
  const python = findPython()
  const instance = newFolder()
  saveState('python', python) // before anything is issued: `post` must find it
  saveState('instance', instance)
  const words = ['action', instance, String(process.ppid)]
  run(python, words, (child, signal) => child.kill(signal))
})
