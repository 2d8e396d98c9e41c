// Starts the agent that holds this use's grants until the job ends.

'use strict'

const { act, become, findPython, newFolder, saveState } = require('../run.js')

act(() => {
  const python = findPython()
  const instance = newFolder()
  saveState('python', python) // before anything is issued: `post` must find it
  saveState('instance', instance)
  become(python, ['action', instance, String(process.ppid)])
})
