// Ends the agent: what it was given is revoked, what it made is removed.

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const { act, run } = require('../run.js')

const { STATE_python: python, STATE_instance: instance } = process.env

/** Milliseconds between two looks at the agent, and how long it has in all: as in agent/stop.py. */
const TICK = 3
const PATIENCE = 25_000

act(async () => {
  if (!instance) return // main found no Python, and nothing was issued
  // Quick by itself, and a job that is cancelled must not keep it from revoking.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})
  const report = await ended()
  if (report) {
    tell(report)
  } else { // the agent is gone without a word, or hangs: what it left is ended from here
    run(python, ['agent', 'stop', '--instance', instance], () => {})
  }
})

/** Have the agent end, and return what it says of that: by itself it is quicker than by a Python. */
async function ended () {
  const agent = read('agent.json')
  if (!agent) return
  try {
    if (isAlive(agent)) process.kill(agent.pid, 'SIGTERM')
  } catch {} // it has just ended
  const deadline = Date.now() + PATIENCE
  while (isAlive(agent) && Date.now() < deadline) await new Promise(resolve => setTimeout(resolve, TICK))
  const report = read('report.json')
  return !isAlive(agent) && Array.isArray(report?.said) ? report : undefined
}

function tell ({ said, summary, exit_code: code }) {
  console.log(said.join('\n'))
  const file = process.env.GITHUB_STEP_SUMMARY
  if (file && summary) fs.appendFileSync(file, summary)
  fs.rmSync(instance, { recursive: true, force: true })
  process.exitCode = code
}

function read (name) {
  try {
    return JSON.parse(fs.readFileSync(path.join(instance, name), 'utf8'))
  } catch {
    return undefined
  }
}

/** Whether it is there, and no other process has got its number since; proc_pid_stat(5). */
function isAlive ({ pid, started }) {
  try {
    const fields = fs.readFileSync(`/proc/${Number(pid)}/stat`, 'latin1').split(') ').pop().split(' ')
    return fields[0] !== 'Z' && fields[19] === String(started)
  } catch {
    return false
  }
}
